"""The scan to restore: whether it can be one, and all that a result takes over from it, noted at the press."""

from __future__ import annotations

import numpy as np
import vtk
from slicer.i18n import tr as _
from vtk.util import numpy_support

from MAPDiffLib.job import InputError
from MAPDiffPanelLib.units import codeOf, isSuv, suvFactor, suvFacts, unitsOf

HOUNSFIELD = ("[hnsf'U]", "HU")
# A CT is deeply negative wherever there is air; in PET only a few voxels of noise come near the lowest one.
DEEP, DEEP_IN_CT, CT_DEPTH = 0.4, 0.1, 0.1  # of the lowest value; share of the voxels; lowest over highest value
SAMPLED = 48  # voxels along each axis that are looked at: a whole body in one go, at every choice, would be felt


def checkScan(volumeNode) -> None:
    """InputError with a sentence for the user when this node cannot be a PET scan."""
    if volumeNode is None:
        raise InputError(_("Choose a PET volume first."))
    image = volumeNode.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None:
        raise InputError(_("This volume holds no voxels. Load it again."))
    if not volumeNode.IsA("vtkMRMLScalarVolumeNode") or volumeNode.IsA("vtkMRMLLabelMapVolumeNode"):
        raise InputError(_("This is not a scan but a label map. Choose the PET volume."))
    if image.GetNumberOfScalarComponents() != 1:
        raise InputError(
            _("This volume has {count} values a voxel (colour, vector or 4-D). Extract one time frame first.").format(
                count=image.GetNumberOfScalarComponents()
            )
        )
    if min(image.GetDimensions()) < 2:
        raise InputError(_("This is a single slice. The whole 3-D volume is needed."))
    voxels = voxelsOf(volumeNode)
    sample = voxels[tuple(slice(None, None, max(1, size // SAMPLED)) for size in voxels.shape)]
    if isConstant(sample) and isConstant(voxels):
        raise InputError(_("Every voxel of this volume has the same value: there is no image to restore."))
    if codeOf(volumeNode) in HOUNSFIELD or looksLikeCt(sample):
        low = valueRange(sample)[0]
        raise InputError(_("This looks like a CT (values down to {low:g}). Choose the PET volume.").format(low=low))


def looksLikeCt(sample: np.ndarray) -> bool:
    """Whether many voxels lie far below zero, as air does in a CT; in any unit.

    PET dips below zero by its noise alone.
    """
    low, high = valueRange(sample)
    return -low > CT_DEPTH * high and float((sample < DEEP * low).mean()) > DEEP_IN_CT


def isConstant(voxels: np.ndarray) -> bool:
    """Whether no two voxels differ; nan is not looked at."""
    low, high = valueRange(voxels)
    return not low < high


def valueRange(voxels: np.ndarray) -> tuple[float, float]:
    """Lowest and highest value beside nan. VTK's own takes thirty times as long."""
    return float(np.fmin.reduce(voxels, axis=None)), float(np.fmax.reduce(voxels, axis=None))


def voxelsOf(volumeNode) -> np.ndarray:
    """The voxels [z, y, x], a view without a copy."""
    image = volumeNode.GetImageData()
    x, y, z = image.GetDimensions()
    return numpy_support.vtk_to_numpy(image.GetPointData().GetScalars()).reshape(z, y, x)


class ScanFacts:
    """What every result of one run takes over from the scan, as it was when the run started.

    The node itself may be changed or removed while the run goes on.
    """

    def __init__(self, volumeNode):
        self.node = volumeNode
        self.nodeID, self.name = volumeNode.GetID(), volumeNode.GetName()
        self.voxels = voxelsOf(volumeNode)
        self.image = volumeNode.GetImageData()  # kept alive: the voxels are a view of it
        self.imageTime = self.image.GetMTime()
        self.dimensions = self.image.GetDimensions()
        self.ijkToRas = vtk.vtkMatrix4x4()
        volumeNode.GetIJKToRASMatrix(self.ijkToRas)
        self.directions = vtk.vtkMatrix4x4()
        volumeNode.GetIJKToRASDirectionMatrix(self.directions)
        self.spacing, self.origin = volumeNode.GetSpacing(), volumeNode.GetOrigin()
        self.transformID = volumeNode.GetTransformNodeID()
        self.quantity, self.units = unitsOf(volumeNode)
        self.unitsAttribute = volumeNode.GetAttribute("DICOM.MeasurementUnitsCodeValue")
        self.unitsCode = codeOf(volumeNode)  # for the worker: "BQML", "{SUVbw}g/ml", ... or "unknown"

    @property
    def changed(self) -> bool:
        """Whether somebody has given the scan other voxels since."""
        return self.node.GetImageData() is not self.image or self.image.GetMTime() != self.imageTime

    def ijkToLps(self) -> list[list[float]]:
        """4 x 4 for a file: files count left and back as positive, Slicer right and front."""
        sign = (-1, -1, 1, 1)
        return [[sign[row] * self.ijkToRas.GetElement(row, column) for column in range(4)] for row in range(4)]

    def describe(self) -> str:
        """ "SUVbw, 218 x 128 x 128, 4.0 x 4.0 x 4.0 mm"."""
        size = " x ".join(str(count) for count in self.dimensions)
        spacing = " x ".join(f"{edge:.2f}" for edge in self.spacing)
        return _("{units}, {size} voxels of {spacing} mm").format(
            units=describeUnits(self.node), size=size, spacing=spacing
        )


def describeUnits(volumeNode) -> str:
    """ "Bq/mL; SUV = value x 0.00021 (body weight)", or why there is no SUV where that is known."""
    units, factor = shortUnits(codeOf(volumeNode)), suvFactor(volumeNode)
    if factor is not None and not isSuv(codeOf(volumeNode)):
        return _("{units}; SUV = value x {factor:.2g} (body weight)").format(units=units, factor=factor)
    refused = str(suvFacts(volumeNode).get("suv_refused") or "")
    return f"{units}; {refused}".replace("; SUV: ", _("; no SUV: ")) if refused else units


def shortUnits(code: str) -> str:
    """ "{SUVbw}g/ml" -> "SUVbw"; unknown units in words."""
    if code == "unknown":
        return _("units unknown")
    if code in ("BQML", "Bq/ml"):
        return _("Bq/mL")
    return code.partition("}")[0].lstrip("{") if code.startswith("{") else code
