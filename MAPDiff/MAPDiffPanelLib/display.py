"""One window, level and colour for all volumes of a result: whichever is changed, the others follow."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import slicer
import vtk

from MAPDiffPanelLib.results import Result

PRESETS = {"SUV 0-5": 5.0, "SUV 0-8": 8.0, "SUV 0-10": 10.0, "SUV 0-20": 20.0}
COLOURS = {
    "inverted grey": "vtkMRMLColorTableNodeInvertedGrey",
    "PET-DICOM": "vtkMRMLPETProceduralColorNodePET-DICOM",
    "PET-Heat": "vtkMRMLPETProceduralColorNodePET-Heat",
}


class SharedDisplay:
    """Watches the display nodes of one result's scan and doses; onChange(): one of them has another look."""

    def __init__(self, onChange: Callable[[], None] = lambda: None):
        self._observed: list[tuple] = []
        self._following, self._onChange = False, onChange

    def watch(self, result: Result | None, others: Iterable = ()) -> None:
        """Of this result's volumes and of others made of them; None for none. All take the first one's look at once."""
        self.release()
        if result is None:
            return
        drawn = [node for node in result.drawn.values() if node not in result.nodes]
        displays = displayNodes([*result.nodes, *drawn, *others])
        if displays:
            self._spread(displays[0], displays)
        self._observed = [(node, node.AddObserver(vtk.vtkCommand.ModifiedEvent, self._changed)) for node in displays]

    def release(self) -> None:
        """Nothing is watched any more."""
        for node, tag in self._observed:
            node.RemoveObserver(tag)
        self._observed = []

    def _changed(self, display, _event) -> None:
        if not self._following:
            self._spread(display, [node for node, _tag in self._observed])
            self._onChange()

    def _spread(self, source, displays: list) -> None:
        self._following = True
        try:
            for display in displays:
                if display is not source:
                    setLook(display, source.GetWindow(), source.GetLevel(), source.GetColorNodeID())
        finally:
            self._following = False


def displayNodes(volumeNodes) -> list:
    """The scalar display nodes of these volumes, made where a volume has none."""
    found = []
    for node in volumeNodes:
        if node.GetDisplayNode() is None:
            node.CreateDefaultDisplayNodes()
        display = node.GetDisplayNode()
        if display is not None and display.IsA("vtkMRMLScalarVolumeDisplayNode"):
            found.append(display)
    return found


def setLook(display, window: float, level: float, colorNodeID: str | None) -> None:
    """Sets what differs, in one change."""
    changing = display.StartModify()
    if display.GetAutoWindowLevel():
        display.SetAutoWindowLevel(False)
    if (display.GetWindow(), display.GetLevel()) != (window, level):
        display.SetWindowLevel(window, level)
    if colorNodeID and display.GetColorNodeID() != colorNodeID:
        display.SetAndObserveColorNodeID(colorNodeID)
    display.EndModify(changing)


def applyPreset(result: Result, upper: float | None = None, colorNodeID: str | None = None) -> None:
    """The scale 0 to `upper` and the colours for every volume of a result; None keeps what is."""
    if colorNodeID and slicer.mrmlScene.GetNodeByID(colorNodeID) is None:
        colorNodeID = None
    for display in displayNodes(result.nodes):
        window, level = (display.GetWindow(), display.GetLevel()) if upper is None else (upper, upper / 2)
        setLook(display, window, level, colorNodeID)
