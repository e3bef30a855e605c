"""The figures of fidelity.py over many cases, as a table beside what is aimed at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from MAPDiffLib.restoration.consistency import PLACE_Z
from training.evaluation.fidelity import BANDS_PER_MM, INTACT, LOST
from training.scores.contrast import CLASSES, class_of

SIZES_MM = ((0.0, 8.0), (8.0, 10.0), (10.0, 13.0), (13.0, 17.0), (17.0, np.inf))
SEEN_SNR = 6.0  # no noise looks like this


def format_fidelity(records: Sequence[dict]) -> str:
    """All tables, for all cases and for each group of scanners."""
    lines: list[str] = []
    for group in ("all", *dict.fromkeys(record["scanner"] for record in records)):
        chosen = [record for record in records if group in ("all", record["scanner"])]
        lesions = [lesion for record in chosen for lesion in record["lesions"]]
        lines += [f"== {group}: {len(chosen)} cases, {len(lesions)} lesions", *_guard(chosen, lesions)]
        lines += [*_estimates(lesions), *_places(chosen), *_scans(chosen), ""]
    return "\n".join(lines)


def _guard(records: Sequence[dict], lesions: Sequence[dict]) -> Iterator[str]:
    yield "guard: recovered contrast (median) by SNR in the input; NMAE over off; hot spots more than real"
    for strength in records[0]["guard"]:
        cells = []
        for low, high in CLASSES:
            values = [x["recovered"][strength] for x in lesions if class_of(x["snr"], ((low, high),))]
            values = [value for value in values if np.isfinite(value)]
            cells.append(f"{np.median(values):5.2f} ({len(values)})" if values else "    - (0)")
        ratios = [r["guard"][strength]["nmae"] / next(iter(r["guard"].values()))["nmae"] for r in records]
        spots = [r["guard"][strength]["more_hot_spots"] for r in records]
        known = [count for count in spots if count is not None]
        yield f"  {strength:>7} {' '.join(cells)}  {np.mean(ratios):.4f}  {np.mean(known) if known else np.nan:.1f}"


def _estimates(lesions: Sequence[dict]) -> Iterator[str]:
    yield "SUVmean, RMS error in %: input, restored, best; best over the better one; share that the interval holds"
    for low, high in (*SIZES_MM, (0.0, np.inf)):
        chosen = [x for x in lesions if low <= x["diameter_mm"] < high and np.isfinite(x["t"])]
        if chosen:
            rms = {k: 100 * np.sqrt(np.mean([x["errors"][k] ** 2 for x in chosen])) for k in chosen[0]["errors"]}
            over = rms["best"] / min(rms["input"], rms["restored"])
            numbers = " ".join(f"{value:5.1f}" for value in rms.values())
            held = np.mean([x["held"] for x in chosen])
            yield f"  {low:g} to {high:g} mm: {numbers}  {over:.3f}  {held:.2f} ({len(chosen)})"


def _places(records: Sequence[dict]) -> Iterator[str]:
    """At each threshold: places a scan that are at no lesion or at an intact one; and of the lost ones, how many."""
    for threshold in sorted({4.0, PLACE_Z, 5.0}):
        idle, lost, listed = 0, 0, 0
        for record in records:
            normal = [x["recovered"].get("normal", next(iter(x["recovered"].values()))) for x in record["lesions"]]
            gone = {i for i, x in enumerate(record["lesions"]) if x["snr"] >= SEEN_SNR and normal[i] < LOST}
            beyond = [place["lesion"] for place in record["places"] if abs(place["z"]) > threshold]
            idle += sum(at is None or normal[at] >= INTACT for at in beyond)
            lost, listed = lost + len(gone), listed + len(gone & set(beyond))
        idle_a_scan = idle / len(records)
        yield f"places beyond {threshold:g}: {idle_a_scan:.1f} a scan where nothing was lost; {listed} of {lost} lost"


def _scans(records: Sequence[dict]) -> Iterator[str]:
    bands = " ".join(f"{a:g}-{b:g}" for a, b in zip(BANDS_PER_MM, BANDS_PER_MM[1:], strict=False))
    yield f"drawn scans over real ones: liver CV; spectrum {bands} per mm; SUVmax bias; CRPS over the mean's error"
    for dose in records[0]["scans"]:
        rows = [record["scans"][dose] for record in records]
        means = {key: [row[key] for row in rows if row[key] is not None] for key in rows[0]}
        spectrum = " ".join(f"{x:.2f}" for x in np.mean(means["spectrum"], axis=0)) if means["spectrum"] else "-"
        cv, bias = (np.mean(means[key]) if means[key] else np.nan for key in ("liver_cv", "max_bias"))
        yield f"  {dose:>4} {cv:.3f}  {spectrum}  {bias:+.3f}  {np.mean(means['crps_over_nmae']):.3f}"
