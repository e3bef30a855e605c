"""The figures of fidelity.py over many cases: each bar with what was measured, on how many, and whether it holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from MAPDiffLib.model.fidelity import Fidelity
from MAPDiffLib.restoration.losses import MOST_PLACES
from training.evaluation.fidelity import FAINT_SNR, INTACT, LOST
from training.scores.contrast import CLASSES, class_of
from training.scores.free_response import FreeResponse, threshold_at
from training.scores.organ_noise import BANDS_PER_MM

SIZES_MM = ((0.0, 8.0), (8.0, 10.0), (10.0, 13.0), (13.0, 17.0), (17.0, np.inf))
SEEN_SNR = FAINT_SNR[0]
MOST_IDLE = 3.0  # places a scan where nothing was lost


@dataclass(frozen=True)
class Row:
    """What is asked, what was measured, on how many, and whether that holds (None: nothing is asked)."""

    asked: str
    measured: str
    count: str
    holds: bool | None = None

    def __str__(self) -> str:
        verdict = {True: "holds", False: "FAILS", None: ""}[self.holds]
        return f"  {self.asked:62} {self.measured:30} {self.count:14} {verdict}".rstrip()


def format_fidelity(records: Sequence[dict], fidelity: Fidelity) -> str:
    """All bars, for all cases and for each group of scanners."""
    lines: list[str] = []
    for group in ("all", *dict.fromkeys(record["scanner"] for record in records)):
        chosen = [record for record in records if group in ("all", record["scanner"])]
        rows = [*_guard(chosen), *_estimates(chosen), *_places(chosen, fidelity.place), *_scans(chosen)]
        lesions = sum(len(record["lesions"]) for record in chosen)
        failed = sum(row.holds is False for row in rows)
        lines += [f"== {group}: {len(chosen)} cases, {lesions} lesions, {failed} of {len(rows)} bars fail"]
        lines += [*map(str, rows), ""]
    return "\n".join(lines)


def rms(values: Sequence[float]) -> float:
    """The root of the mean of squares."""
    return float(np.sqrt(np.mean(np.square(values))))


def in_class(lesions: Sequence[dict], low: float, high: float) -> list[dict]:
    """The lesions of these diameters (mm)."""
    return [lesion for lesion in lesions if low <= lesion["diameter_mm"] < high]


def _guard(records: Sequence[dict]) -> Iterator[Row]:
    lesions = [lesion for record in records for lesion in record["lesions"]]
    for low, high in CLASSES:
        chosen = [x for x in lesions if x["snr"] and class_of(x["snr"], ((low, high),)) and x["recovered"]["off"]]
        if chosen:
            medians = {
                name: float(np.median([x["recovered"][name] for x in chosen])) for name in chosen[0]["recovered"]
            }
            asked, gained = f"contrast recovered at SNR {low:g} to {high:g}: off, normal, strong", None
            if low == SEEN_SNR:
                asked, gained = f"{asked} (+.15)", medians["normal"] - medians["off"] >= 0.15
            yield Row(asked, ", ".join(f"{x:.2f}" for x in medians.values()), f"{len(chosen)} lesions", gained)
    ratio = float(np.mean([record["guard"]["normal"]["nmae"] / record["guard"]["off"]["nmae"] for record in records]))
    yield Row("guard: NMAE at most 1 % up", f"{ratio - 1:+.2%}", f"{len(records)} cases", ratio <= 1.01)
    spots = [record["guard"]["normal"]["more_hot_spots"] for record in records]
    if known := [count for count in spots if count is not None]:
        more = float(np.mean(known))
        asked = "guard: false hot spots a volume over the real full dose's, <= 1"
        yield Row(asked, f"{more:+.1f}", f"{len(known)} cases", more <= 1)
    yield from _found(records)


def _found(records: Sequence[dict]) -> Iterator[Row]:
    """At one false positive a volume of the group: what is in a scan to be found, and what is left of it."""
    records = [record for record in records if record["found"]["scan"]]
    if not records:
        return
    images = {name: [record["found"][name] for record in records] for name in ("scan", "real", "known")}
    images |= {name: [record["guard"][name]["found"] for record in records] for name in records[0]["guard"]}
    volumes = {name: [FreeResponse(**row) for row in rows] for name, rows in images.items()}
    least = {name: threshold_at(each) for name, each in volumes.items()}
    for low, high in (*CLASSES, (0.0, np.inf)):
        chosen = [(k, number) for k, record in enumerate(records) for number, lesion in enumerate(record["lesions"])
                  if not low or lesion["snr"] and low <= lesion["snr"] < high]  # fmt: skip
        if chosen:
            shares = [np.mean([volumes[name][k].lesions[number] > least[name] for k, number in chosen])
                      for name in ("scan", "off", "normal", "strong", "real", "known")]  # fmt: skip
            name = f"SNR {class_of(low, ((low, high),))}" if low else "lesions"
            asked = f"{name} found at one false hit: scan, off to strong, real; anatomy known"
            yield Row(asked, ", ".join(f"{share:.2f}" for share in shares), f"{len(chosen)} lesions")


def _estimates(records: Sequence[dict]) -> Iterator[Row]:
    lesions = [lesion for record in records for lesion in record["lesions"] if lesion["t"] is not None]
    for low, high in (*SIZES_MM, (0.0, np.inf)):
        chosen = in_class(lesions, low, high)
        if not chosen:
            continue
        errors = [rms([x[of] / x["real"] - 1 for x in chosen]) for of in ("scan", "full", "value")]
        most, name = (1.0, "all") if (low, high) == (0, np.inf) else (1.05, f"{low:g} to {high:g} mm")
        ratio = errors[2] / min(errors[:2])
        said = f"{', '.join(f'{100 * error:.1f}' for error in errors)}: {ratio:.2f}"
        asked = f"{name}: RMS % of scan, restored, best; over the better <= {most:g}"
        yield Row(asked, said, f"{len(chosen)} lesions", ratio <= most)
        share = float(np.mean([x["low"] <= x["real"] <= x["high"] for x in chosen]))
        yield Row(
            f"{name}: 90 % intervals hold 85 to 95 %", f"{share:.0%}", f"{len(chosen)} lesions", 0.85 <= share <= 0.95
        )


def idle_places(records: Sequence[dict], threshold: float, most: int | None = MOST_PLACES) -> float:
    """Places a scan at no lesion, or at one that the network left intact, in lists of at most `most` (None: whole)."""
    idle = 0
    for record in records:
        network = [lesion["recovered"]["off"] for lesion in record["lesions"]]
        for place in record["places"][:most]:
            at = place["lesion"]
            empty = at is None or (network[at] is not None and network[at] >= INTACT)
            idle += place["log_odds"] > threshold and empty
    return idle / len(records)


def _places(records: Sequence[dict], threshold: float) -> Iterator[Row]:
    idle = idle_places(records, threshold)
    yield Row(
        f"places a scan where nothing was lost, <= {MOST_IDLE:g}",
        f"{idle:.1f}",
        f"{len(records)} cases",
        idle <= MOST_IDLE,
    )
    lost, listed, left = [], 0, 0
    for k, record in enumerate(records):
        at = {place["lesion"] for place in record["places"][:MOST_PLACES] if place["log_odds"] > threshold}
        for number, lesion in enumerate(record["lesions"]):
            seen = lesion["snr"] is not None and lesion["snr"] >= SEEN_SNR and lesion["recovered"]["off"] is not None
            if seen and lesion["recovered"]["off"] < LOST:
                lost.append((k, number))
                listed += number in at
                left += lesion["recovered"]["normal"] < LOST
    if not lost:
        return
    asked, count = f"of lesions of SNR {SEEN_SNR:g} that the network lost, two thirds listed", f"{len(lost)} lesions"
    yield Row(asked, f"{listed} ({listed / len(lost):.0%})", count, listed >= 2 / 3 * len(lost))
    if all(record["found"]["known"] for record in records):
        known = [FreeResponse(**record["found"]["known"]) for record in records]
        least = threshold_at(known, MOST_IDLE)
        found = sum(known[k].lesions[number] > least for k, number in lost)
        asked = f"and found by who knows the anatomy, at {MOST_IDLE:g} false hits a scan"
        yield Row(asked, f"{found} ({found / len(lost):.0%})", count)
    yield Row("and still lost behind the guard", f"{left}", count)


def _scans(records: Sequence[dict]) -> Iterator[Row]:
    for dose in dict.fromkeys(dose for record in records for dose in record["scans"]):
        rows = [record["scans"][dose] for record in records if dose in record["scans"]]

        def mean(key: str, rows: Sequence[dict] = rows) -> tuple[float | None, str]:
            known = [row[key] for row in rows if row.get(key) is not None]
            return (float(np.mean(known)) if known else None), f"{len(known)} cases"

        for key, asked, low, high in (
            ("variation", "the liver's variation over the real one's, .95 to 1.05", 0.95, 1.05),
            ("roughness", "roughness over the real one's, .95 to 1.05", 0.95, 1.05),
            ("maximum", "SUVmax of lesions from 10 mm, within 4 %", -0.04, 0.04),
            ("crps", "CRPS over the mean's NMAE, <= .85", 0.0, 0.85),
        ):
            value, count = mean(key)
            if value is not None:
                said = f"{value:+.1%}" if key == "maximum" else f"{value:.3f}"
                yield Row(f"scan of {dose}: {asked}", said, count, low <= value <= high)
        if spectra := [row["spectrum"] for row in rows if "spectrum" in row]:
            bands = np.exp(np.mean(np.log(spectra), axis=0))  # as many times too much as too little
            asked = (
                f"scan of {dose}: spectrum in bands from {BANDS_PER_MM[0]:g} to {BANDS_PER_MM[-1]:g} per mm, .9 to 1.1"
            )
            holds = bool(((bands >= 0.9) & (bands <= 1.1)).all())
            yield Row(asked, ", ".join(f"{x:.2f}" for x in bands), f"{len(spectra)} cases", holds)
