"""The table on disk and on the screen: CSV files with every figure, table.json with the means, text to read."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

from MAPDiffLib.files import write_csv, write_text
from training.evaluation.run import VERSION
from training.evaluation.summary import best_baselines, summarise
from training.scores.contrast import CLASSES, SIZES_MM, class_of

# Of the table as text: title, width, digits. |mean|, |max|: median size of the bias in lesions of 10 mm and more;
# found: share of lesions at one false positive a volume; score: the UDPET challenge's.
COLUMNS = (
    ("PSNR", 7, 2), ("(max)", 7, 2), ("SSIM", 8, 4), ("NMAE", 8, 4), ("NRMSE", 8, 4), ("GMSD", 8, 4),
    ("|mean|%", 9, 1), ("|max|%", 8, 1), ("CNR", 6, 1), ("found", 7, 2), ("spots", 7, 1), ("score", 7, 1),
    ("cover", 7, 3), ("s", 8, 1), ("GB", 6, 1), ("evals", 6, 0),
)  # fmt: skip
KEYS = ("scanner", "input_dose", "method", "case")


def write_table(records: list[dict], folder: Path, facts: dict) -> dict:
    """scores.csv, doses.csv, organs.csv, lesions.csv, challenge.csv (a row per case and thing measured) and table.json,
    which is also returned: facts, means with intervals, and each of our methods against the best baseline."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_csv(folder / "scores.csv", map(_score_row, records))
    _write_csv(folder / "challenge.csv", (_keys(r) | r["challenge"] for r in records if "challenge" in r))
    for part in ("doses", "organs", "lesions"):
        _write_csv(folder / f"{part}.csv", _part_rows(records, part))
    table = {"version": VERSION, "facts": facts, "means": summarise(records), "against_best": best_baselines(records)}
    table = _finite(table)
    write_text(json.dumps(table, indent=1), folder / "table.json")
    return table


def format_table(means: dict) -> str:
    """The means as text: a block per scanner and input dose, a line per method."""
    lines = []
    for scanner, doses in means.items():
        for dose, methods in doses.items():
            lines.append(f"\n{scanner}, input at {dose} dose")
            lines.append(f"{'method':34}" + "".join(title.rjust(width) for title, width, _ in COLUMNS))
            lines += [_line(name, figures) for name, figures in methods.items()]
    return "\n".join(lines)


def format_lesions(means: dict) -> str:
    """Contrast recovered by the lesion's signal-to-noise in the input, and bias of SUVmean / SUVmax by diameter."""
    classes, sizes = ([class_of(low, group) for low, _ in group] for group in (CLASSES, SIZES_MM))
    lines = []
    for scanner, doses in means.items():
        for dose, methods in doses.items():
            if not any(figures.get("recovery") for figures in methods.values()):
                continue
            lines.append(f"\n{scanner}, lesions, input at {dose} dose: recovered by SNR; bias in % by mm")
            titles = [*(f"{name:>9}" for name in classes), *(f"{name:>13}" for name in sizes)]
            lines.append(f"{'method':34}" + "".join(titles))
            for name, figures in methods.items():
                medians = [figures.get("recovery", {}).get(each, {}).get("median") for each in classes]
                biases = [figures.get("by_size", {}).get(each) for each in sizes]
                cells = [f"{100 * b['mean']:.0f} / {100 * b['max']:.0f}" if b else "-" for b in biases]
                cells = [*(_cell(median, 9, 2) for median in medians), *(f"{cell:>13}" for cell in cells)]
                lines.append(f"{name:34}" + "".join(cells))
    return "\n".join(lines)


def format_comparison(against_best: list[dict]) -> str:
    """Each of our methods against the best baseline, PSNR (SUV 20) and NMAE."""
    lines = [f"\n{'ours - best baseline':22}{'95 % interval':>34}{'p':>9}"]
    for row in against_best:
        if row["figure"] in ("psnr", "nmae"):
            where = f"{row['scanner']}, {row['input_dose']:g}: {row['figure']}, {row['ours']} - {row['best_baseline']}"
            lines.append(f"{where}\n{row['mean']:22.4f}{row['low']:17.4f}{row['high']:17.4f}{row['p']:9.3f}")
    return "\n".join(lines)


def _line(name: str, figures: dict) -> str:
    lesions = figures["lesions"] or {}
    biases = [lesions.get(key, {}).get("median_abs_bias") for key in ("mean", "max")]
    values = [
        *(figures.get(key, {}).get("mean") for key in ("psnr", "psnr_max", "ssim", "nmae", "nrmse", "gmsd")),
        *(None if value is None else 100 * value for value in biases),
        lesions.get("contrast_to_noise"),
        (figures.get("free_response") or {}).get("sensitivity"),
        figures.get("false_hot_spots"),
        (figures.get("challenge") or {}).get("score"),
        *(figures.get(key) for key in ("coverage_90", "seconds", "peak_gb", "evaluations")),
    ]
    return f"{name:34}" + "".join(_cell(v, w, d) for v, (_, w, d) in zip(values, COLUMNS, strict=True))


def _cell(value: float | None, width: int, digits: int) -> str:
    return "-".rjust(width) if value is None else f"{value:{width}.{digits}f}"


def _score_row(record: dict) -> dict:
    plain = {key: record.get(key) for key in ("false_hot_spots", "coverage", "seconds", "peak_gb", "evaluations")}
    return _keys(record) | record.get("image", {}) | plain


def _keys(record: dict) -> dict:
    return {key: record[key] for key in KEYS}


def _part_rows(records: list[dict], part: str) -> Iterator[dict]:
    for record in records:
        for row in record.get(part, []):
            yield _keys(record) | row


def _write_csv(path: Path, rows) -> None:
    rows = list(rows)
    names = list(dict.fromkeys(name for row in rows for name in row))
    write_csv(rows, names or KEYS, path)


def _finite(value):
    """JSON has no infinity (PSNR of equal images) and no nan: both become null."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
