"""The dose slider: a position between two doses is a mix of two volumes that are already there; no voxel is copied.

Stops are the scan and each dose, in equal steps. Between two stops the weight of the upper one is linear in 1/dose,
which makes the position itself the weight.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from slicer.i18n import tr as _

from MAPDiffLib.job import dose_label
from MAPDiffPanelLib.layouts import DIFFERENCE, GRID, ONE, PAIR
from MAPDiffPanelLib.results import Result, roundDose

SNAP = 0.02  # of a step: that near to a stop is on it
SAME = 0.01  # that near to one over a whole number, a dose is called so
INPUT_ROLE, RESTORED_ROLE, DIFFERENCE_ROLE = "input", "restored", "difference"


@dataclass(frozen=True)
class Mix:
    """What a position shows: `upper` over `lower` with `opacity`; upper is None on a stop.

    `words` stand under the slider, `label` (six letters) in a view's bar, `corner` in its picture.
    """

    lower: object
    upper: object
    opacity: float
    dose: float
    words: str
    label: str
    corner: str
    role: str = RESTORED_ROLE


def mixAt(result: Result, position: float) -> Mix:
    """The mix at a position from 0 (the scan, or the lowest dose where the scan has gone) to the number of steps."""
    stops, labels = result.stops, result.labels()
    position = min(max(position, 0.0), len(stops) - 1.0)
    index = int(round(position))
    if abs(position - index) <= SNAP:
        return _stop(result, index, labels[index])
    index = int(position)
    (low, lower), (high, upper) = stops[index], stops[index + 1]
    share = position - index
    dose = 1 / ((1 - share) / low + share / high)
    label = roundDose(dose)
    words = _("{dose}, between {low} and {high}").format(dose=label, low=labels[index], high=labels[index + 1])
    corner = _("Restored, {dose} dose\nbetween {low} and {high}").format(
        dose=label, low=labels[index], high=labels[index + 1]
    )
    return Mix(lower, upper, share, dose, words, label, corner)


def _stop(result: Result, index: int, words: str) -> Mix:
    dose, node = result.stops[index]
    if node is result.inputNode:
        corner = _("Input, {dose} dose").format(dose=roundDose(dose)) if result.inputDose else _("Input")
        return Mix(node, None, 0.0, dose, words, _("input"), corner, INPUT_ROLE)
    return Mix(node, None, 0.0, dose, words, shortDose(dose), _("Restored, {dose} dose").format(dose=words))


def shortDose(dose: float) -> str:
    """At most six letters: "1/4", "full", "0.3"."""
    whole = round(1 / dose)
    return dose_label(1 / whole) if abs(whole * dose - 1) < SAME else f"{dose:.3g}"[:6]


def nearestDose(result: Result, dose: float) -> float:
    """The restored dose whose noise is nearest: the one a difference is shown for."""
    return min(result.doses, key=lambda each: abs(1 / each - 1 / dose))


def contents(kind: str, result: Result, mix: Mix, everywhere: str | None = None, most: int = 9) -> dict[int, Mix]:
    """View number -> what it shows; see `layouts`. ONE: number 1 stands for all of the user's views.

    everywhere: INPUT_ROLE or RESTORED_ROLE for the same in every view, but for differences.
    """
    count = len(result.stops)
    given = mixAt(result, 0)
    if kind == GRID:  # the scan stays where there are more doses than views
        places = [0, *range(count - most + 1, count)] if count > most else range(count)
        shown = {number: mixAt(result, place) for number, place in enumerate(places, 1)}
    elif kind == DIFFERENCE:
        shown = {1: given, 2: mix, 3: _differenceMix(result, mix)}
        shown |= {number + 3: each for number, each in shown.items()}
    else:
        shown = {ONE: {1: mix}, PAIR: {1: given, 2: mix, 3: given, 4: mix}}[kind]
    return {number: _flipped(each, given, mix, everywhere) for number, each in shown.items()}


def _flipped(each: Mix, given: Mix, mix: Mix, everywhere: str | None) -> Mix:
    if everywhere is None or each.role in (DIFFERENCE_ROLE, everywhere):
        return each
    return given if everywhere == INPUT_ROLE else mix


def _differenceMix(result: Result, mix: Mix) -> Mix:
    dose = nearestDose(result, mix.dose)
    node, words = result.differences.get(dose), _("Input minus {dose} dose").format(dose=dose_label(round(dose, 3)))
    corner = words + "\n" + (_("red: taken away, blue: added") if node is not None else _("being computed"))
    return Mix(node, None, 0.0, dose, words, _("diff"), corner, DIFFERENCE_ROLE)


def positionOf(result: Result, dose: float) -> float:
    """The position of a dose of the result, or between its neighbours."""
    doses = [stop for stop, _node in result.stops]
    for index, (low, high) in enumerate(zip(doses, doses[1:], strict=False)):
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
    lowerID = mix.lower.GetID() if mix.lower is not None else None
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
