"""Maximum intensity projection: a slice view whose slab covers the whole scan (Slicer's slab reconstruction)."""

from __future__ import annotations

import vtk


def project(sliceLogic, volumeNode) -> None:
    """The maximum over the volume's thickness across this view, which shows it; a plain slice again for None.

    The slab is twice as thick as the volume, so that the picture is the same from whichever slice of it.
    """
    node = sliceLogic.GetSliceNode()
    if volumeNode is None:
        if node.GetSlabReconstructionEnabled():
            node.SetSlabReconstructionEnabled(False)
        return
    changing = node.StartModify()
    node.SetSlabReconstructionType(vtk.VTK_IMAGE_SLAB_MAX)
    node.SetSlabReconstructionThickness(2 * thicknessAcross(node, volumeNode))
    node.SetSlabReconstructionOversamplingFactor(1.0)
    node.SetSlabReconstructionEnabled(True)
    node.EndModify(changing)
    # Slicer 5.12 divides millimetres by the factor where slices are meant: at 4 mm every other layer of voxels would
    # be missed. What it made of the factor 1 is the factor that gives one sample a layer, there and once it is mended.
    node.SetSlabReconstructionOversamplingFactor(
        sliceLogic.GetBackgroundLayer().GetReslice().GetSlabSliceSpacingFraction()
    )


def thicknessAcross(sliceNode, volumeNode) -> float:
    """Millimetres of the volume along the view's normal, through its transforms."""
    bounds, matrix = [0.0] * 6, sliceNode.GetSliceToRAS()
    volumeNode.GetRASBounds(bounds)
    return sum(abs(matrix.GetElement(axis, 2)) * (bounds[2 * axis + 1] - bounds[2 * axis]) for axis in range(3))
