"""Figures of a restoration: coronal maximum-intensity projections, inverted grey, one window for all."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from MAPDiffLib.errors import InputError
from MAPDiffLib.files import written_whole
from MAPDiffLib.job import RESEARCH_USE, dose_title
from MAPDiffLib.restoration.intensity import BODY_MEAN_SUV
from MAPDiffLib.scan.volume import Volume, body_mask, read_volume

SUV_WINDOW = 8.0


@dataclass(frozen=True)
class Panel:
    """One projection [z, x] with its title, its window (0 to `top`) and the voxel size (x, z) in mm."""

    title: str
    image: np.ndarray
    top: float
    spacing_mm: tuple[float, float]


def projection(volume: Volume, title: str, top: float) -> Panel:
    """The coronal maximum-intensity projection, head up and the patient's left on the right, whatever the axes."""
    image = sitk.GetImageFromArray(volume.voxels)
    image.SetSpacing(volume.spacing_mm)
    image.SetDirection(volume.direction)
    upright = sitk.DICOMOrient(image, "LPS")
    x_mm, _, z_mm = upright.GetSpacing()
    return Panel(title, sitk.GetArrayViewFromImage(upright).max(axis=1)[::-1].copy(), top, (x_mm, z_mm))


def window_top(volume: Volume) -> float:
    """The activity shown as black: SUV 8, or what corresponds to it (by the body mean where SUV is not known)."""
    if volume.units.upper().startswith("SUV"):
        return SUV_WINDOW
    try:
        return SUV_WINDOW / volume.suv_factor
    except InputError:
        pass
    body = body_mask(volume.voxels, volume.spacing_mm)
    return SUV_WINDOW / BODY_MEAN_SUV * float(volume.voxels[body].mean())


def draw_restoration(report_path: Path, path: Path) -> Path:
    """The input and every restored dose of a report.json, side by side in one PNG; returns its path."""
    report = json.loads(report_path.read_text(encoding="utf-8"))
    scan = read_volume(report["job"]["input"])
    top = window_top(scan)
    panels = [projection(scan, f"input\n0 to {_short(top)} {scan.units}", top)]
    for entry in report["files"]:
        restored = read_volume(report_path.parent / entry["file"])
        panels.append(projection(restored, f"restored\n{dose_title(entry['dose'], entry['as'] == 'scan')}", top))
    if report["uncertainty_file"]:
        spread = read_volume(report_path.parent / report["uncertainty_file"])
        panels.append(projection(spread, f"uncertainty\n0 to {_short(top / 8)}", top / 8))
    return draw(panels, Path(report["job"]["input"]).name, path)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def draw(panels: list[Panel], title: str, path: Path) -> Path:
    """Panels in one row under a title, with the research-use line; written whole, then renamed. Returns `path`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # not pyplot: no window system, no global state
    from matplotlib.figure import Figure

    rows, columns = panels[0].image.shape
    x_mm, z_mm = panels[0].spacing_mm
    height = min(12.0, 2.0 * rows * z_mm / (columns * x_mm))  # inches, for panels 2 inches wide
    figure = Figure(figsize=(2.0 * len(panels), height + 1.2), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        aspect = panel.spacing_mm[1] / panel.spacing_mm[0]
        axes.imshow(panel.image, cmap="gray_r", vmin=0, vmax=panel.top, aspect=aspect, interpolation="bilinear")
        axes.set_title(panel.title, fontsize=11)
        axes.set_axis_off()
    figure.suptitle(title, fontsize=13)
    figure.supxlabel(RESEARCH_USE, fontsize=10)
    with written_whole(path) as partial:
        canvas.print_png(partial)
    return path
