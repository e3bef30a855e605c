"""Places to check: where a result may have lost something that its scan shows, and the way there."""

from __future__ import annotations

import slicer
from slicer.i18n import tr as _

from MAPDiffPanelLib.enabling import allow
from MAPDiffPanelLib.units import suvFactor

RESULT_OF_POINTS = "MAPDiff.PlacesOf"


class PlacesSection:
    """A list of which each entry moves the slice views; all of them as points of the scene."""

    def __init__(self, ui):
        self.ui, self._result = ui, None
        ui.placesSelector.connect("activated(int)", self._chosen)
        ui.placesButton.connect("clicked()", self._mark)
        self.use(None)

    def use(self, result) -> None:
        """The places of this result, None for none."""
        self._result = result
        places = result.places if result is not None else None
        self.ui.placesSelector.clear()
        for number, place in enumerate(places or (), 1):
            self.ui.placesSelector.addItem(f"{number}: {self._words(place)}")
        self.ui.placesSelector.setCurrentIndex(-1)
        lacking = _("There is no result in this scene yet. Press Denoise.")
        if result is not None:
            lacking = _("This result came without such a list.") if places is None else _(
                "Nowhere is a loss likely enough to be listed.")  # fmt: skip
        for widget in (self.ui.placesSelector, self.ui.placesButton):
            allow(widget, "" if places else lacking)

    def _words(self, place: dict) -> str:
        """ "4.20 to 3.10 (60 %)": with the probability that something was lost; older results do not say it."""
        factor = suvFactor(self._result.nodes[0]) or 1.0
        scan, restored = factor * float(place["scan"]), factor * float(place["restored"])
        words = _("{scan:.2f} to {restored:.2f}").format(restored=restored, scan=scan)
        return f"{words} ({100 * float(place['probability']):.0f} %)" if "probability" in place else words

    def _world(self, place: dict) -> list[float]:
        """RAS, wherever the volumes' transform has put them; files count left and back as positive."""
        x, y, z = map(float, place["position_mm_lps"])
        world = [0.0, 0.0, 0.0]
        self._result.nodes[0].TransformPointToWorld([-x, -y, z], world)
        return world

    def _chosen(self, index: int) -> None:
        if self._result is not None and 0 <= index < len(self._result.places or ()):
            slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, *self._world(self._result.places[index]))

    def _mark(self) -> None:
        """One list of points for each result; a second press renews it."""
        node = next(
            (
                node
                for node in slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode")
                if node.GetAttribute(RESULT_OF_POINTS) == self._result.resultID
            ),
            None,
        )
        if node is None:
            name = slicer.mrmlScene.GenerateUniqueName(_("{title} places").format(title=self._result.title))
            node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", name)
            node.SetAttribute(RESULT_OF_POINTS, self._result.resultID)
        node.RemoveAllControlPoints()
        for number, place in enumerate(self._result.places, 1):
            node.AddControlPointWorld(self._world(place), str(number))
