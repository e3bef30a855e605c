"""The top of the panel: which scan, what is known of it, or why it cannot be restored."""

from __future__ import annotations

from collections.abc import Callable

import slicer
import vtk

from MAPDiffLib.job import InputError
from MAPDiffPanelLib.node_watch import NodeWatch
from MAPDiffPanelLib.results import resultNodes, scanNodes
from MAPDiffPanelLib.scan import ScanFacts, checkScan
from MAPDiffPanelLib.suv_lookup import SuvLookup


class ScanSection:
    """The selector's list, the line under it, and the SUV factor of a DICOM series.

    onChange() on a later turn of the event loop, after volumes have come or what is known of them has changed.
    """

    def __init__(self, ui, onChange: Callable[[], None]):
        self.ui, self.suv, self._watch = ui, SuvLookup(), NodeWatch(onChange)

    def follow(self, parameters) -> None:
        """The scene as it is: restored doses are no scans to restore; the first scan where none was chosen."""
        hidden = [node.GetID() for node in resultNodes(slicer.mrmlScene)]
        model = self.ui.inputSelector.sortFilterProxyModel()
        if list(model.hiddenNodeIDs) != hidden:
            model.hiddenNodeIDs = hidden
        scans = scanNodes(slicer.mrmlScene)
        if scans and parameters.inputVolume is None:
            parameters.inputVolume = scans[0]
        self._watchVolumes(parameters.inputVolume)
        self.suv.follow(parameters.inputVolume)

    def nodeAdded(self, node) -> None:
        """Its voxels, units and attributes come later."""
        if node.IsA("vtkMRMLScalarVolumeNode"):
            self._watch.poke()

    @property
    def waiting(self) -> bool:
        """Whether onChange is due."""
        return self._watch.waiting

    def check(self, node) -> None:
        """Fills the line under the selector; InputError when this volume cannot be restored."""
        self.ui.scanLabel.text = ""
        try:
            checkScan(node)
        except InputError as error:
            self.ui.scanLabel.text = str(error) if node is not None else ""
            raise
        self.ui.scanLabel.text = describeScan(node)

    def release(self) -> None:
        """No process, no folder and no observer is left."""
        self._watch.release()
        self.suv.stopNow()

    def _watchVolumes(self, scan) -> None:
        """The scan's voxels and units, and what a run's end writes on its results, come after the nodes."""
        events = [vtk.vtkCommand.ModifiedEvent, slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent]
        nodes = resultNodes(slicer.mrmlScene) + ([scan] if scan is not None else [])
        self._watch.watch([(node, events) for node in nodes])


def describeScan(node) -> str:
    """One line under the selector; "" for a volume without voxels."""
    return ScanFacts(node).describe() if node is not None and node.GetImageData() is not None else ""
