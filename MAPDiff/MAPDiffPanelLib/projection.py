"""Coronal maximum intensity projections: hidden volumes of one thick slice, made in steps while Slicer is idle.

Slicer's slab reconstruction gives the same picture, but goes through the whole volume for each view and each dose that
comes into it, a quarter of a second in one go. A projection is made once, and is then a slice like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable

import numpy as np
import slicer
import vtk
from vtk.util import numpy_support

from MAPDiffPanelLib.display import setLook
from MAPDiffPanelLib.idle_tasks import IdleTasks
from MAPDiffPanelLib.node_watch import NodeWatch
from MAPDiffPanelLib.scan import voxelsOf

ACROSS = 1  # of RAS: a coronal view looks along it
VOXELS_AT_ONCE = 1 << 18  # a few milliseconds
EVENTS = [
    vtk.vtkCommand.ModifiedEvent,
    slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent,
    slicer.vtkMRMLTransformableNode.TransformModifiedEvent,
]


class Projections:
    """Of volumes of one scene; onChange(): one has come, or the voxels or the place of a volume have changed."""

    def __init__(self, scene, onChange: Callable[[], None]):
        self.scene, self._onChange = scene, onChange
        self._tasks, self._watch = IdleTasks(), NodeWatch(onChange)
        self._made: dict[str, tuple] = {}  # volume's ID -> (its state then, the projection)
        self._begun: dict[str, tuple] = {}  # volume's ID -> its state when the work was queued

    def of(self, volumeNode):
        """The projection of a volume as it is now; None while it is being made."""
        key, state = volumeNode.GetID(), _state(volumeNode)
        known, node = self._made.get(key, (None, None))
        if known == state:
            return node
        if self._begun.get(key) != state:
            self._begun[key] = state
            self._tasks.add(self._make(volumeNode, key, state), self._failed)
        return None

    @property
    def nodes(self) -> list:
        """Every projection there is."""
        return [node for _known, node in self._made.values()]

    @property
    def busy(self) -> bool:
        """Whether any is still to come."""
        return self._tasks.busy

    def keep(self, volumeNodes: Iterable) -> None:
        """Those of other volumes go."""
        kept = {node.GetID() for node in volumeNodes}
        for key in set(self._made) - kept:
            self._remove(key)
        if not set(self._begun) <= kept:  # what is wanted is asked for again
            self._tasks.clear()
            self._begun.clear()

    def release(self) -> None:
        """None is left, and none is made."""
        self._watch.release()
        self.keep([])

    def _make(self, volumeNode, key: str, state: tuple) -> Generator[None, None, None]:
        image, spacing, origin = yield from projected(volumeNode)
        self._remove(key)
        if self.scene.GetNodeByID(key) is volumeNode:
            self._made[key] = state, self._node(volumeNode, image, spacing, origin)
        self._begun.pop(key, None)
        volumes = [self.scene.GetNodeByID(each) for each in self._made]
        self._watch.watch([(volume, EVENTS) for volume in volumes if volume is not None])
        self._onChange()

    def _failed(self, error: Exception) -> None:
        self._begun.clear()
        slicer.util.errorDisplay(str(error))

    def _remove(self, key: str) -> None:
        _known, node = self._made.pop(key, (None, None))
        if node is not None and self.scene.IsNodePresent(node):
            self.scene.RemoveNode(node.GetDisplayNode())
            self.scene.RemoveNode(node)

    def _node(self, volumeNode, image, spacing, origin):
        """No other module lists it, and no scene is saved with it."""
        display = slicer.vtkMRMLScalarVolumeDisplayNode()
        node = slicer.vtkMRMLScalarVolumeNode()
        node.SetName(f"{volumeNode.GetName()} MIP")
        for each in (display, node):
            each.SetHideFromEditors(True)
            each.SetSaveWithScene(False)
        source = volumeNode.GetDisplayNode()
        if source is not None:
            setLook(display, source.GetWindow(), source.GetLevel(), source.GetColorNodeID())
        node.SetAndObserveImageData(image)
        node.SetSpacing(spacing)
        node.SetOrigin(origin)
        self.scene.AddNode(display)
        node.SetAndObserveDisplayNodeID(display.GetID())
        return self.scene.AddNode(node)


def projected(volumeNode) -> Generator[None, None, tuple]:
    """Returns (image of one layer, spacing, origin in RAS mm): the highest value along each line across coronal views.

    On a grid along RAS, as fine as the volume's own: its voxels where the two are aligned, else linear between them.
    The layer is three times as thick as the volume, so that the picture is the same from whichever slice of it.
    """
    counts, spacing, origin = _grid(volumeNode)
    reslice, highest = vtk.vtkImageReslice(), None
    reslice.SetInputData(volumeNode.GetImageData())
    reslice.SetResliceTransform(_fromWorld(volumeNode))
    reslice.SetInterpolationModeToLinear()
    reslice.SetBackgroundLevel(nothing := _lowest(voxelsOf(volumeNode).dtype))
    reslice.SetOutputSpacing(spacing)
    reslice.SetOutputOrigin(origin)
    layers = max(1, VOXELS_AT_ONCE // (counts[0] * counts[2]))
    for first in range(0, counts[1], layers):
        last = min(first + layers, counts[1]) - 1
        reslice.SetOutputExtent(0, counts[0] - 1, first, last, 0, counts[2] - 1)
        reslice.Update()
        voxels = numpy_support.vtk_to_numpy(reslice.GetOutput().GetPointData().GetScalars())
        part = voxels.reshape(counts[2], last - first + 1, counts[0]).max(axis=1)
        highest = part.astype(np.float32) if highest is None else np.maximum(highest, part)
        yield
    if nothing < 0:  # lines that miss an oblique volume
        highest[highest <= nothing] = highest[highest > nothing].min()
    image = vtk.vtkImageData()
    image.SetDimensions(counts[0], 1, counts[2])
    image.AllocateScalars(vtk.VTK_FLOAT, 1)
    numpy_support.vtk_to_numpy(image.GetPointData().GetScalars())[:] = highest.ravel()
    thickness = counts[ACROSS] * spacing[ACROSS]
    origin[ACROSS] += (thickness - spacing[ACROSS]) / 2
    spacing[ACROSS] = 3 * thickness
    return image, spacing, origin


def _grid(volumeNode) -> tuple[list[int], list[float], list[float]]:
    """How many voxels along R, A and S hold the volume, their size, and where the first one's centre is."""
    bounds, directions = [0.0] * 6, vtk.vtkMatrix4x4()
    volumeNode.GetRASBounds(bounds)
    volumeNode.GetIJKToRASDirectionMatrix(directions)
    counts, spacing, origin = [], [], []
    for axis in range(3):
        extent = bounds[2 * axis + 1] - bounds[2 * axis]
        nearest = max(range(3), key=lambda column, row=axis: abs(directions.GetElement(row, column)))
        counts.append(max(1, round(extent / volumeNode.GetSpacing()[nearest])))
        spacing.append(extent / counts[-1])
        origin.append(bounds[2 * axis] + spacing[-1] / 2)
    return counts, spacing, origin


def _lowest(kind: np.dtype) -> float:
    """What no voxel is below; looking for the scan's own lowest one takes a third of a second in one go."""
    return float(np.finfo(np.float32).min if kind.kind == "f" else np.iinfo(kind).min)


def _fromWorld(volumeNode):
    """World RAS to voxel indices, through every transform, bent ones as well."""
    toIjk, parent = vtk.vtkMatrix4x4(), volumeNode.GetParentTransformNode()
    volumeNode.GetRASToIJKMatrix(toIjk)
    if parent is not None and not parent.IsTransformToWorldLinear():
        bent = vtk.vtkGeneralTransform()
        parent.GetTransformFromWorld(bent)
        bent.PostMultiply()
        bent.Concatenate(toIjk)
        return bent
    straight, matrix = vtk.vtkTransform(), vtk.vtkMatrix4x4()
    if parent is not None:
        parent.GetMatrixTransformFromWorld(matrix)
    straight.SetMatrix(matrix)
    straight.PostMultiply()
    straight.Concatenate(toIjk)
    return straight


def _state(volumeNode) -> tuple:
    """What a projection depends on; VTK gives no time of modification twice."""
    matrix, parent = vtk.vtkMatrix4x4(), volumeNode.GetParentTransformNode()
    volumeNode.GetIJKToRASMatrix(matrix)
    place = tuple(matrix.GetElement(row, column) for row in range(3) for column in range(4))
    moved = (parent.GetID(), parent.GetTransformToWorldMTime()) if parent is not None else None
    return volumeNode.GetImageData().GetMTime(), place, moved
