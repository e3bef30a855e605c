"""The simulated low-dose scan that comes with the module, as an entry of Slicer's Sample Data; no network."""

from __future__ import annotations

from pathlib import Path

import slicer
from slicer.i18n import tr as _

from MAPDiffPanelLib.units import setUnits, suvUnits

RESOURCES = Path(__file__).parent.parent / "Resources"
FILE = RESOURCES / "SampleData" / "MAPDiffLowDosePET.nii.gz"
THUMBNAIL = RESOURCES / "Icons" / "MAPDiffLowDosePET.png"
NAME = "LowDosePET"


def register() -> None:
    """Adds the entry."""
    import SampleData

    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="MAPDiff",
        sampleName=_("Low-dose PET (simulated, 1/20 dose)"),
        thumbnailFileName=str(THUMBNAIL),
        uris=FILE.as_uri(),
        fileNames=FILE.name,
        nodeNames=NAME,
        customDownloader=lambda source=None: [load()],
    )


def load():
    """The scan as a volume node in SUV, shown as PET is: inverted grey, 0 to 8."""
    node = slicer.util.loadVolume(str(FILE), {"name": NAME})
    setUnits(node, *suvUnits())
    display = node.GetDisplayNode()
    if display is not None:
        display.SetAutoWindowLevel(False)
        display.SetWindowLevel(8, 4)
        display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeInvertedGrey")
    return node
