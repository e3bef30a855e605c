"""How far apart the noise of cases lies, as the network is told it: level against width, beside that of real scans."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from MAPDiffLib.restoration.noise import Noise, measure_noise
from MAPDiffLib.scan.volume import read_volume

PARTS = {"level": "level", "in_plane_mm": "in plane, mm", "axial_mm": "axial, mm"}
# STS_001 of TCIA's Soft-tissue-Sarcoma: a full-dose FDG scan of a clinical scanner, 4.7 x 4.7 x 3.3 mm.
REAL_SCANS = {"STS_001, clinical": Noise(level=0.173, axial_mm=4.98, in_plane_mm=9.73)}


def measured(scans: Iterable[Path]) -> dict[str, Noise]:
    """The noise of real scans by their names, those where nothing can be measured left out."""
    found = {}
    for path in scans:
        scan = read_volume(path)
        noise = measure_noise(scan.voxels, scan.body, scan.spacing_mm)
        if noise is not None:
            found[Path(path).name] = noise
    return found


def spread(cases: list[dict]) -> dict[str, np.ndarray]:
    """Every scan of the cases (validate.case_figures) whose noise could be measured: {part: [scans]}, and "dose"."""
    rows = [(dose, row) for case in cases for dose, row in case["doses"].items() if row["level"] is not None]
    return {part: np.array([row[part] for _, row in rows]) for part in PARTS} | {"dose": np.array([d for d, _ in rows])}


def spread_table(cases: list[dict], real: Mapping[str, Noise]) -> str:
    """Lowest and highest of each part, how level and width go together, and which of them a real scan lies within."""
    scans = spread(cases)
    if len(scans["dose"]) < 2:
        return "told noise: measured on fewer than two scans"
    ranges = {part: (scans[part].min(), scans[part].max()) for part in PARTS}
    together = np.corrcoef(np.log(scans["level"]), scans["in_plane_mm"])[0, 1]
    said = ", ".join(
        f"{title} {low:.3g}-{high:.3g}" for title, (low, high) in zip(PARTS.values(), ranges.values(), strict=True)
    )
    lines = [f"told noise of {len(scans['dose'])} scans: {said}; level and width correlate by {together:+.2f}"]
    for name, noise in real.items():
        values = [f"{title} {getattr(noise, part):.3g}{_outside(getattr(noise, part), ranges[part])}"
                  for part, title in PARTS.items()]  # fmt: skip
        lines.append(f"{name}: {', '.join(values)}")
    return "\n".join(lines)


def _outside(value: float, limits: tuple[float, float]) -> str:
    return "" if limits[0] <= value <= limits[1] else " !"


def draw_spread(panel, cases: list[dict], real: Mapping[str, Noise], widths_mm: tuple[float, float]) -> None:
    """Level against in-plane width, a point for each scan, coloured by its dose; `widths_mm`: of real livers."""
    scans = spread(cases)
    panel.axvspan(*widths_mm, color="tab:green", alpha=0.2, label="width in real livers")
    for dose in sorted(set(scans["dose"])):
        own = scans["dose"] == dose
        panel.scatter(scans["in_plane_mm"][own], scans["level"][own], s=14, label=f"dose {dose:g}")
    for name, noise in real.items():
        panel.plot(noise.in_plane_mm, noise.level, "*", color="black", markersize=11, label=name)
    panel.set(yscale="log", xlabel="FWHM in plane, mm", ylabel="told level")
    panel.legend(fontsize=6)
