"""What the restoration took away: the scan minus one dose, as a volume in the scan's units, made on demand."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import slicer
from slicer.i18n import tr as _

from MAPDiffLib.job import dose_label
from MAPDiffPanelLib import outputs
from MAPDiffPanelLib.display import displayNodes, setLook
from MAPDiffPanelLib.results import Result
from MAPDiffPanelLib.scan import ScanFacts, voxelsOf

COLOUR_NODE = "MAPDiff difference"
SHARE = 0.5  # the colours span this share of the doses' window: what was taken away is small beside what stays
PARTS = 32


def makeDifference(scene, result: Result, dose: float) -> Iterator[None]:
    """Adds input minus `dose` to the scene and to `result.differences`; yields between pieces of work."""
    facts = ScanFacts(result.inputNode)
    restored = voxelsOf(result.doses[dose])
    if restored.shape != facts.voxels.shape:
        raise ValueError(
            _("The scan has {scan} voxels, the restored volume {restored}: a difference needs the same grid.").format(
                scan=" x ".join(map(str, facts.dimensions)), restored=" x ".join(map(str, reversed(restored.shape)))
            )
        )
    made = outputs.LoadedVolume(facts)
    voxels = made.allocate()
    for part in np.array_split(np.arange(len(voxels)), min(PARTS, len(voxels))):
        piece = slice(part[0], part[-1] + 1)
        np.subtract(facts.voxels[piece], restored[piece], out=voxels[piece], casting="unsafe")
        yield
    attributes = outputs.doseAttributes(result.resultID, result.title, dose, result.inputDose, {})
    attributes[outputs.KIND] = outputs.KIND_DIFFERENCE
    name = _("{scan} MAPDiff input minus {dose}").format(scan=facts.name, dose=dose_label(dose))
    node = yield from made.addTo(scene, name, attributes)
    result.differences[dose] = node
    scaleDifferences(result)


def scaleDifferences(result: Result) -> None:
    """White is no difference, red is taken away, blue is added; the same scale for every dose of the result."""
    doses = displayNodes(result.nodes[:1])
    for display in displayNodes(result.differences.values()) if doses else ():
        setLook(display, 2 * SHARE * doses[0].GetWindow(), 0.0, _colourNode(display.GetScene()).GetID())


def _colourNode(scene):
    """Blue, white, red: one table for all differences of a scene."""
    found = scene.GetFirstNodeByName(COLOUR_NODE)
    if found is not None:
        return found
    node = slicer.vtkMRMLColorTableNode()
    node.SetName(COLOUR_NODE)
    node.SetTypeToUser()
    node.SetNumberOfColors(255)
    for index in range(255):
        value = (index - 127) / 127
        strength = 1 - abs(value)
        colour = (1.0, strength, strength) if value > 0 else (strength, strength, 1.0)
        node.SetColor(index, f"{value:+.2f}", *colour)
    node.GetLookupTable().SetRange(0, 254)
    node.SetHideFromEditors(True)
    return scene.AddNode(node)
