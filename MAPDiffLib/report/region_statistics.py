"""The numbers of regions drawn on a result: from a folder with report.json and a mask to CSV, JSON and a table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from MAPDiffLib.errors import InputError
from MAPDiffLib.files import write_csv, write_json
from MAPDiffLib.job import REPORT_FILE, RESEARCH_USE
from MAPDiffLib.model.fidelity import Fidelity, parse_fidelity
from MAPDiffLib.restoration.quantify import BestEstimate, Quantifier, RegionStatistics
from MAPDiffLib.scan.masks import read_regions
from MAPDiffLib.scan.volume import Volume, read_volume

TABLE_FILE, JSON_FILE = "regions.csv", "regions.json"
BEST = "best estimate"
COLUMNS = (
    "region", "image", "unit", "mean", "max", "peak", "volume_ml", "tlg", "mean_low", "mean_high", "peak_low",
    "peak_high", "t", "warning",
)  # fmt: skip


def region_statistics(results: str | Path, mask: str | Path) -> list[dict]:
    """One row per region and image of a restoration's folder, with the best estimate as the last of each region.

    results: the folder, or its report.json; mask: labels, a .seg.nrrd or a DICOM SEG file, drawn on this scan. Rows
    have COLUMNS: SUV where the scan's factor is known, else the scan's own unit; the interval holds 90 %. InputError
    for results or a mask that cannot be read, and for results without full dose.
    """
    report_path = Path(results) / REPORT_FILE if Path(results).is_dir() else Path(results)
    report = _report(report_path)
    scan = read_volume(report["job"]["input"])
    factor, unit = scan_scale(scan)
    doses = {
        _label(entry): read_volume(report_path.parent / entry["file"]).voxels * factor for entry in report["files"]
    }
    full = doses.get("full")
    if full is None:
        raise InputError(
            f"{report_path.parent} holds no full dose: restore with --doses 1/4,full (the mean, not a scan)."
        )
    regions = read_regions(Path(mask), scan)
    fidelity = parse_fidelity(report["fidelity"]) if "fidelity" in report else Fidelity()
    quantifier = Quantifier(scan.voxels * factor, full, scan.body, scan.spacing_mm, fidelity)
    return [row for region in regions for row in _rows(region.name, unit, quantifier.region(region.mask, doses))]


def write_statistics(rows: Sequence[dict], folder: Path) -> tuple[Path, Path]:
    """regions.csv and regions.json, each written whole; returns their paths."""
    table = folder / TABLE_FILE
    write_csv(rows, COLUMNS, table)
    return table, write_json({"notice": RESEARCH_USE, "interval": 0.9, "rows": list(rows)}, folder / JSON_FILE)


def format_statistics(rows: Sequence[dict]) -> str:
    """The rows as a table for a screen, with a sentence where scan and restored image disagree."""
    unit = rows[0]["unit"]
    lines = [f"{'region':20} {'image':14} {'mean':>8} {'max':>8} {'peak':>8} {'mL':>8} {'TLG':>9}   ({unit})"]
    for row in rows:
        numbers = [f"{row[name]:8.3g}" if row[name] != "" else " " * 8 for name in ("mean", "max", "peak", "volume_ml")]
        tlg = f"{row['tlg']:9.4g}" if row["tlg"] != "" else " " * 9
        line = f"{row['region'][:20]:20} {row['image']:14} {' '.join(numbers)} {tlg}"
        if row["image"] == BEST and row["mean_low"] != "":
            line += f"   90 %: {row['mean_low']:.3g} to {row['mean_high']:.3g}"
        lines.append(line + (f"   ! {row['warning']}" if row["warning"] else ""))
    return "\n".join(lines)


def scan_scale(scan: Volume) -> tuple[float, str]:
    """The factor and the unit of numbers for people: SUV where the scan says it, else the scan's own."""
    try:
        return scan.suv_factor, "SUV"
    except InputError:
        return 1.0, "input units" if scan.units == "unknown" else scan.units


def _report(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): give the folder of a restoration.") from None
    except ValueError:
        raise InputError(f"{path} is no report of a restoration: give the folder of one.") from None


def _label(entry: dict) -> str:
    return entry["label"] + (" scan" if entry.get("as") == "scan" else "")


def _rows(name: str, unit: str, statistics: RegionStatistics) -> list[dict]:
    blank = dict.fromkeys(COLUMNS, "") | {"region": name, "unit": unit}
    rows = [blank | {"image": image, **asdict(readings)} for image, readings in statistics.readings.items()]
    mean, peak = statistics.mean, statistics.peak
    volume_ml = statistics.readings["input"].volume_ml
    best = {"image": BEST, "mean": mean.value, "peak": peak.value, "volume_ml": volume_ml, "warning": mean.warning}
    best |= {"tlg": mean.value * volume_ml, **_interval("mean", mean), **_interval("peak", peak)}
    return [*rows, blank | best | ({"t": mean.t} if mean.t == mean.t else {})]


def _interval(name: str, best: BestEstimate) -> dict[str, float]:
    """Nothing where the noise could not be measured."""
    return {f"{name}_low": best.low, f"{name}_high": best.high} if best.low == best.low else {}
