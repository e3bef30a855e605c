"""The dose slider: a position between two doses is a mix of two volumes that are already there; no voxel is copied.

Stops are the scan and each dose, in equal steps. Between two stops the weight of the upper one is linear in 1/dose,
which makes the position itself the weight.
"""

# ruff: noqa: B905  zip(strict=) needs Python 3.10, Slicer 5.8 has 3.9
from __future__ import annotations

import math
from dataclasses import dataclass

from slicer.i18n import tr as _

from MAPDiffPanelLib.results import Result, roundDose

SNAP = 0.02  # of a step: that near to a stop is on it


@dataclass(frozen=True)
class Mix:
    """What a position shows: `upper` over `lower` with `opacity`; upper is None on a stop."""

    lower: object
    upper: object
    opacity: float
    dose: float
    words: str


def mixAt(result: Result, position: float) -> Mix:
    """The mix at a position from 0 (the scan, or the lowest dose where the scan has gone) to the number of steps."""
    stops, labels = result.stops, result.labels()
    position = min(max(position, 0.0), len(stops) - 1.0)
    index = int(round(position))
    if abs(position - index) <= SNAP:
        dose, node = stops[index]
        return Mix(node, None, 0.0, dose, labels[index])
    index = int(position)
    (low, lower), (high, upper) = stops[index], stops[index + 1]
    share = position - index
    dose = 1 / ((1 - share) / low + share / high)
    words = _("{dose}, between {low} and {high}").format(
        dose=roundDose(dose), low=labels[index], high=labels[index + 1]
    )
    return Mix(lower, upper, share, dose, words)


def positionOf(result: Result, dose: float) -> float:
    """The position of a dose of the result, or between its neighbours."""
    doses = [stop for stop, _node in result.stops]
    for index, (low, high) in enumerate(zip(doses, doses[1:])):
        if dose <= high:
            dose = max(dose, low)
            return index + (1 / low - 1 / dose) / (1 / low - 1 / high)
    return float(len(doses) - 1)


def neighbour(result: Result, position: float, direction: int) -> float:
    """The next stop up (direction 1) or down (-1) from a position."""
    last = len(result.stops) - 1
    if direction > 0:
        return float(min(last, int(position + SNAP) + 1))
    return float(max(0, math.ceil(position - SNAP) - 1))


def showMix(mix: Mix, compositeNodes) -> None:
    """Puts a mix into slice views; only what differs is touched, so that scrubbing changes one number a view."""
    lowerID = mix.lower.GetID()
    upperID = mix.upper.GetID() if mix.upper is not None else None
    for composite in compositeNodes:
        changing = composite.StartModify()
        if composite.GetBackgroundVolumeID() != lowerID:
            composite.SetBackgroundVolumeID(lowerID)
        if composite.GetForegroundVolumeID() != upperID:
            composite.SetForegroundVolumeID(upperID)
        if composite.GetForegroundOpacity() != mix.opacity:
            composite.SetForegroundOpacity(mix.opacity)
        composite.EndModify(changing)
