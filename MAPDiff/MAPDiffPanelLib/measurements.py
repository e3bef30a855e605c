"""The table of numbers: per dose the noise, SUVmean and SUVmax of a region, total activity and guard; best estimate."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator

import numpy as np
from slicer.i18n import tr as _

from MAPDiffPanelLib.best_estimate import Estimate
from MAPDiffPanelLib.regions import Region
from MAPDiffPanelLib.results import Result
from MAPDiffPanelLib.scan import voxelsOf
from MAPDiffPanelLib.units import suvFactor

PARTS = 8  # of a volume, and of a region


def columns(isSuv: bool) -> list[str]:
    """The head of the table."""
    mean, highest = (_("SUVmean"), _("SUVmax")) if isSuv else (_("mean"), _("max"))
    return [_("dose"), _("noise %"), mean, highest, _("activity %"), _("guard %")]


def measure(result: Result, region: Region, rows: list) -> Iterator[None]:
    """Appends one row per stop to `rows`; yields between pieces of work.

    The region is one on the scan's own grid. A row is [label, noise, mean, max, activity, guard]: per cents of the
    mean, of the scan's total activity, the guard's correction; nan: unknown.
    """
    whole, factor = None, suvFactor(result.nodes[0]) or 1.0
    for (_dose, node), label in zip(result.stops, result.labels(), strict=True):
        voxels = voxelsOf(node)
        mean, deviation, highest = yield from _inside(voxels, region)
        total = 0.0
        for part in np.array_split(voxels, PARTS):
            total += float(part.sum(dtype=np.float64))
            yield
        whole = whole or total
        drift = result.figuresOf(node).get("guard_drift")
        guard = math.nan if drift is None else -100 * float(drift)
        noise = 100 * deviation / mean if mean else math.nan
        activity = 100 * total / whole if whole else math.nan
        rows.append([label, noise, factor * mean, factor * highest, activity, guard])


def _inside(voxels: np.ndarray, region: Region) -> Generator[None, None, tuple[float, float, float]]:
    """Returns the mean, the standard deviation and the highest value in a region, which may be the whole volume."""
    count, total, squares, highest = 0, 0.0, 0.0, -math.inf
    for part in region.parts(PARTS):
        values = part.values(voxels).astype(np.float64)
        count, total, squares = count + values.size, total + float(values.sum()), squares + float(values @ values)
        highest = float(values.max(initial=highest))
        yield
    mean = total / count
    return mean, math.sqrt(max(0.0, squares / count - mean * mean)), highest


def formatRow(row: list) -> list[str]:
    """A row as it is read: one decimal for per cents, two for uptake, a dash for what is unknown."""
    digits = (1, 2, 2, 1, 1, 2, 2)
    return [row[0]] + [_number(value, count) for value, count in zip(row[1:], digits, strict=False)]


def withEstimate(head: list[str], rows: list[list], estimate: Estimate, factor: float) -> tuple[list, list]:
    """The table with a last row for the best estimate of the mean, and two columns for its interval."""
    blank, value, low, high = math.nan, *(factor * each for each in (estimate.value, estimate.low, estimate.high))
    last = [_("best estimate"), blank, value, blank, blank, blank, low, high]
    return [*head, _("low (90 %)"), _("high (90 %)")], [*([*row, blank, blank] for row in rows), last]


def _number(value: float, digits: int) -> str:
    return f"{round(value, digits) + 0.0:.{digits}f}" if value == value else "-"  # + 0.0: never "-0.0"


def asText(head: list[str], rows: list[list]) -> str:
    """Tabs and lines, for a spreadsheet."""
    return "\n".join("\t".join(line) for line in [head, *map(formatRow, rows)]) + "\n"


def asTableNode(scene, name: str, head: list[str], rows: list[list]):
    """A vtkMRMLTableNode with the numbers at full precision."""
    import vtk

    node = scene.AddNewNodeByClass("vtkMRMLTableNode", scene.GenerateUniqueName(name))
    for index, title in enumerate(head):
        column = vtk.vtkStringArray() if index == 0 else vtk.vtkDoubleArray()
        column.SetName(title)
        for row in rows:
            column.InsertNextValue(row[index])
        node.AddColumn(column)
    return node
