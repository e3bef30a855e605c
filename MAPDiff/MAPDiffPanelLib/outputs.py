"""Result volumes into the scene: whole, with the scan's geometry, transform, units, colour, window and study."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator

import numpy as np
import slicer
import vtk
from vtk.util import numpy_support

from MAPDiffLib.job import dose_title
from MAPDiffPanelLib.scan import ScanFacts, valueRange
from MAPDiffPanelLib.units import SUV_FACTS, setUnits
from MAPDiffPanelLib.volumefile import VolumeFileError, readNrrd

RESULT, TITLE, DOSE, INPUT_DOSE = "MAPDiff.Result", "MAPDiff.Title", "MAPDiff.Dose", "MAPDiff.InputDose"
KIND, FIGURES, COMPLETE = "MAPDiff.Kind", "MAPDiff.Figures", "MAPDiff.Complete"
DRAWN = "MAPDiff.Drawn"  # "1" of a dose with the noise of a scan
PLACES = "MAPDiff.Places"  # the report's list, as JSON
FIDELITY = "MAPDiff.Fidelity"  # what the model's bundle says of its errors: the report's object, as JSON
INPUT_ROLE = "MAPDiff.Input"  # a node reference: it survives a scene that is saved, loaded and merged
KIND_DOSE, KIND_UNCERTAINTY, KIND_DIFFERENCE = "dose", "uncertainty", "difference"


def doseName(scanName: str, dose: float, drawn: bool = False) -> str:
    """ "PET MAPDiff 1/10 dose"; "... dose scan" where noise of that dose was drawn."""
    return f"{scanName} MAPDiff {dose_title(dose, drawn)}"


def uncertaintyName(scanName: str) -> str:
    """The name of the volume of standard deviations."""
    return f"{scanName} MAPDiff uncertainty"


class LoadedVolume:
    """A result on its way: the voxels are read in steps, the node is made in one step at the end."""

    def __init__(self, facts: ScanFacts):
        self.facts, self.image = facts, vtk.vtkImageData()

    def read(self, path: str) -> Iterator[None]:
        """Yields between pieces. VolumeFileError, OSError."""
        x, y, z = self.facts.dimensions

        def makeArray(shape: tuple[int, int, int]) -> np.ndarray:
            if tuple(shape) != (z, y, x):
                raise VolumeFileError(f"{path} has {shape} voxels, the scan {(z, y, x)}")
            return self.allocate()

        yield from readNrrd(path, makeArray)

    def allocate(self) -> np.ndarray:
        """The voxels [z, y, x], float32, still without values."""
        x, y, z = self.facts.dimensions
        self.image.SetDimensions(x, y, z)
        self.image.AllocateScalars(vtk.VTK_FLOAT, 1)
        return numpy_support.vtk_to_numpy(self.image.GetPointData().GetScalars()).reshape(z, y, x)

    def addTo(self, scene, name: str, attributes: dict[str, str]) -> Generator[None, None, object]:
        """Returns the node, complete before anybody is told of it, so that no view shows a half one; yields between."""
        facts, display = self.facts, self._display(scene)
        yield
        node = scene.CreateNodeByClass("vtkMRMLScalarVolumeNode")
        node.UnRegister(None)
        node.SetName(scene.GenerateUniqueName(name))
        for key, value in attributes.items():
            node.SetAttribute(key, value)
        node.SetAttribute("DICOM.MeasurementUnitsCodeValue", facts.unitsAttribute)
        node.SetAttribute(SUV_FACTS, facts.node.GetAttribute(SUV_FACTS))  # may have come after the press
        if scene.GetNodeByID(facts.nodeID) is facts.node:  # the scan may have gone, and its ID to another
            node.SetNodeReferenceID(INPUT_ROLE, facts.nodeID)
        node.SetAndObserveImageData(self.image)
        # The matrix alone would lose the last digit of spacing and origin on the way through the directions.
        node.SetIJKToRASDirectionMatrix(facts.directions)
        node.SetSpacing(facts.spacing)
        node.SetOrigin(facts.origin)
        setUnits(node, facts.quantity, facts.units)
        if facts.transformID and scene.GetNodeByID(facts.transformID):
            node.SetAndObserveTransformNodeID(facts.transformID)
        scene.AddNode(node)
        node.SetAndObserveDisplayNodeID(display.GetID())
        yield
        placeInStudy(scene, node, facts.node)
        return node

    def _display(self, scene):
        """A display node of its own with the scan's colours and window; it is added before the volume uses it."""
        source = self.facts.node.GetDisplayNode()
        display = scene.CreateNodeByClass("vtkMRMLScalarVolumeDisplayNode")
        display.UnRegister(None)
        if source is not None and source.IsA("vtkMRMLScalarVolumeDisplayNode"):
            display.SetAutoWindowLevel(False)
            display.SetAndObserveColorNodeID(source.GetColorNodeID())
            display.SetWindowLevel(source.GetWindow(), source.GetLevel())
            display.SetInterpolate(source.GetInterpolate())
            display.SetInvertDisplayScalarRange(source.GetInvertDisplayScalarRange())
        else:
            display.SetAutoWindowLevel(False)
            display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
            low, high = valueRange(numpy_support.vtk_to_numpy(self.image.GetPointData().GetScalars()))
            display.SetWindowLevel(high - low, (low + high) / 2)
        return scene.AddNode(display)


def placeInStudy(scene, node, scanNode) -> None:
    """Puts the node beside the scan in the subject hierarchy."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    if hierarchy is None:
        return
    scanItem = hierarchy.GetItemByDataNode(scanNode)
    item = hierarchy.GetItemByDataNode(node)
    if not item:
        item = hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)
    if scanItem:
        hierarchy.SetItemParent(item, hierarchy.GetItemParent(scanItem))


def doseAttributes(
    resultID: str, title: str, dose: float, inputDose: float | None, figures: dict, drawn: bool = False
) -> dict[str, str]:
    """What makes a volume a dose of a result, also after the scene is saved and loaded."""
    attributes = {RESULT: resultID, TITLE: title, KIND: KIND_DOSE, COMPLETE: "0", DOSE: repr(float(dose))}
    attributes[FIGURES] = json.dumps(figures)
    if drawn:
        attributes[DRAWN] = "1"
    if inputDose:
        attributes[INPUT_DOSE] = repr(float(inputDose))
    return attributes
