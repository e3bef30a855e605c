"""The MAPDiff results in a scene, read from the nodes themselves: a result lives as long as its volumes."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from slicer.i18n import tr as _

from MAPDiffLib.job import dose_label
from MAPDiffPanelLib import outputs
from MAPDiffPanelLib.outputs import (
    COMPLETE,
    DOSE,
    DRAWN,
    FIDELITY,
    FIGURES,
    INPUT_DOSE,
    INPUT_ROLE,
    KIND,
    PLACES,
    RESULT,
    TITLE,
)

ASSUMED_INPUT_DOSE = 0.05  # only for the labels between the scan and the first dose of a result that lacks its own


@dataclass
class Result:
    """One run's volumes: the scan (None when it has gone), its dose, and the restored doses.

    `doses` are what the slider goes through: the means, or the drawn scans of a run that made nothing else.
    """

    resultID: str
    title: str
    inputNode: object = None
    inputDose: float | None = None
    complete: bool = True
    doses: dict = field(default_factory=dict)
    drawn: dict = field(default_factory=dict)  # dose -> a scan of that dose, with noise
    uncertaintyNode: object = None
    differences: dict = field(default_factory=dict)  # dose -> input minus that dose

    @property
    def label(self) -> str:
        """For the list of results; an interrupted run says so."""
        return self.title if self.complete else _("{title} (incomplete)").format(title=self.title)

    @property
    def stops(self) -> list[tuple[float, object]]:
        """(dose, node) from the scan upwards; doses that a removed node leaves out are simply missing."""
        found = sorted(self.doses.items())
        if self.inputNode is None:
            return found
        dose = self.inputDose or min([ASSUMED_INPUT_DOSE] + [dose / 2 for dose in self.doses])
        return [(dose, self.inputNode)] + found

    def labels(self) -> list[str]:
        """One label per stop: "input 1/20", "1/10", ..., "full"."""
        names = [dose_label(round(dose, 3)) for dose, _node in self.stops]
        if self.inputNode is not None:
            names[0] = inputLabel(self.inputDose)
        return names

    def meanOf(self, dose: float):
        """The volume of a dose without drawn noise, None where there is none."""
        return None if self.doses is self.drawn else self.doses.get(dose)

    @property
    def nodes(self) -> list:
        """Every volume of one grey scale: the scan and the doses."""
        return [node for _dose, node in self.stops]

    def figuresOf(self, node) -> dict:
        """The worker's figures for one dose (guard, noise), {} where there are none."""
        figures = _json(node.GetAttribute(FIGURES))
        return figures if isinstance(figures, dict) else {}

    @property
    def places(self) -> list[dict] | None:
        """Where to look: {"position_mm_lps", "z", "probability", "scan", "restored"} each; None without a list."""
        lists = [_json(node.GetAttribute(PLACES)) for node in self.doses.values()]
        return next((each for each in lists if isinstance(each, list)), None)

    @property
    def fidelity(self) -> dict | None:
        """What the model's bundle says of its errors, for the best estimate; None where the worker did not say it."""
        told = [_json(node.GetAttribute(FIDELITY)) for node in self.doses.values()]
        return next((each for each in told if isinstance(each, dict)), None)


def inputLabel(inputDose: float | None) -> str:
    """How the scan itself is called beside its doses."""
    return _("input") if not inputDose else _("input {dose}").format(dose=roundDose(inputDose))


def roundDose(dose: float) -> str:
    """A dose that need not be on the ladder, in words: 0.143 -> "1/7", 0.8 -> "4/5", 1 -> "full"."""
    if dose >= 0.995:
        return dose_label(1.0)
    return f"1/{1 / dose:.0f}" if dose < 0.4 else f"1/{1 / dose:.2g}"


def volumeNodes(scene) -> list:
    """Every scalar volume of the scene that the user sees: no label maps, no colour volumes."""
    count = scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")
    nodes = [scene.GetNthNodeByClass(index, "vtkMRMLScalarVolumeNode") for index in range(count)]
    plain = [node for node in nodes if node.GetClassName() == "vtkMRMLScalarVolumeNode"]
    return [node for node in plain if not node.GetHideFromEditors()]


def scanNodes(scene) -> list:
    """Every volume that could be restored."""
    return [node for node in volumeNodes(scene) if not node.GetAttribute(RESULT)]


def resultNodes(scene) -> list:
    """Every volume that a run has added, uncertainty as well."""
    return [node for node in volumeNodes(scene) if node.GetAttribute(RESULT)]


def findResults(scene) -> list[Result]:
    """Every result of a scene, oldest first."""
    found: dict[str, Result] = {}
    for node in resultNodes(scene):
        resultID = node.GetAttribute(RESULT)
        _add(found.setdefault(resultID, Result(resultID, node.GetAttribute(TITLE) or node.GetName())), node)
    for result in found.values():
        result.doses = result.doses or result.drawn
    return [result for result in found.values() if result.doses]


def findResult(scene, resultID: str) -> Result | None:
    """The result of this id, None when none of its doses is left."""
    return next((result for result in findResults(scene) if result.resultID == resultID), None)


def _add(result: Result, node) -> None:
    if node.GetAttribute(KIND) == outputs.KIND_UNCERTAINTY:
        result.uncertaintyNode = node
        return
    dose = _number(node.GetAttribute(DOSE))
    if dose is None:
        return
    if node.GetAttribute(KIND) == outputs.KIND_DIFFERENCE:
        result.differences[dose] = node
        return
    (result.drawn if node.GetAttribute(DRAWN) else result.doses)[dose] = node
    result.inputNode = result.inputNode or node.GetNodeReference(INPUT_ROLE)
    result.inputDose = result.inputDose or _number(node.GetAttribute(INPUT_DOSE))
    result.complete = result.complete and node.GetAttribute(COMPLETE) == "1"


def _json(text: str | None):
    try:
        return json.loads(text or "null")
    except ValueError:
        return None


def _number(text: str | None) -> float | None:
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return value if 0 < value <= 1 else None
