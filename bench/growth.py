"""How time and peak memory grow with the body, the tile, the doses and the samples; a process for each point."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from bench.scans import DOSE, cropped
from bench.timing import in_child
from MAPDiffLib.scan.volume import Volume

DOSES = ((1.0,), (0.5, 1.0), (0.25, 0.5, 1.0), (0.1, 0.25, 0.5, 1.0))


def growth(scan: Volume, bundle: str, folder: Path, device: str, runs: int) -> dict[str, list[dict]]:
    """{what grows: [{"x", "seconds", "peak_gb"}, ...]}: medians of `runs` processes, one sample."""
    slices = len(scan.voxels)
    base = {"input_dose": DOSE, "samples": 1, "device": device}
    points = {
        "body voxels": [(cropped(scan, n), {}) for n in (slices // 4, slices // 2, 3 * slices // 4, slices)],
        "tile": [(scan, {"tile": tile}) for tile in (32, 64, 96, 128)],
        "doses": [(scan, {"doses": doses}) for doses in DOSES],
        "samples": [(scan, {"samples": samples}) for samples in (1, 2, 4)],
    }
    return {
        name: [{"x": _x(name, part, changed), **_measured(part, bundle, folder, base | changed, runs)}
               for part, changed in chosen]
        for name, chosen in points.items()
    }  # fmt: skip


def exponent(points: list[dict]) -> float:
    """The slope of log seconds over log x: at most 1 is at most linear."""
    x, y = (np.log([point[key] for point in points]) for key in ("x", "seconds"))
    return float(np.polyfit(x, y, 1)[0])


def _x(name: str, scan: Volume, changed: dict) -> int:
    if name == "body voxels":
        return int(scan.body.sum())
    value = next(iter(changed.values()))
    return value if isinstance(value, int) else len(value)


def _measured(scan: Volume, bundle: str, folder: Path, options: dict, runs: int) -> dict:
    path = folder / "scan.npy"
    np.save(path, scan.voxels)
    given = json.dumps({"spacing_mm": scan.spacing_mm, "options": options, "bundle": bundle})
    taken = [in_child("bench.single_run", str(path), given) for _ in range(runs)]
    path.unlink()
    return {key: float(np.median([one[key] for one in taken])) for key in ("seconds", "peak_gb")}
