"""Where numbers are measured: a liver-like default region, a markups ROI, or a segment. All as (slices, mask).

What looks at a whole volume is a generator that returns its result and yields between pieces of work.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _
from vtk.util import numpy_support

COARSE = 32  # places along each axis at which the whole volume is looked through for an ROI
RADIUS_MM = 15.0  # of the default sphere: 14 ml, the usual size for noise in the liver
SEGMENTATION_EVENTS = [  # of vtkSegmentation: what changes a segment's voxels, and which segments there are
    slicer.vtkSegmentation.SourceRepresentationModified,
    slicer.vtkSegmentation.SegmentAdded,
    slicer.vtkSegmentation.SegmentRemoved,
    slicer.vtkSegmentation.SegmentModified,
]
WARM = (1.2, 6.0)  # times the body's mean: above soft tissue and below bladder, brain and heart


@dataclass(frozen=True)
class Region:
    """A part of a volume: `mask` [z, y, x] bool within the box `slices`."""

    name: str
    slices: tuple[slice, slice, slice]
    mask: np.ndarray

    def values(self, voxels: np.ndarray) -> np.ndarray:
        """The voxels inside, one after the other."""
        return voxels[self.slices][self.mask]

    def parts(self, count: int) -> list[Region]:
        """The same in pieces of whole layers, `count` at most."""
        start, layers = self.slices[0].start, len(self.mask)
        edges = np.linspace(0, layers, min(count, layers) + 1).astype(int)
        return [
            Region(self.name, (slice(start + a, start + b), *self.slices[1:]), self.mask[a:b])
            for a, b in zip(edges[:-1], edges[1:], strict=True)
        ]


class RegionError(ValueError):
    """A sentence for the user: why there is nothing to measure."""


def liverLike(voxels: np.ndarray, spacing_mm) -> Generator[None, None, Region]:
    """Returns a 15 mm sphere in the largest even, warm part, found on 16 mm blocks. spacing (x, y, z).

    RegionError when nothing in the volume is warm and even.
    """
    steps = [max(1, round(16 / edge)) for edge in reversed(spacing_mm)]
    blocks = yield from blockMeans(voxels, steps)
    body = blocks > 0.5 * np.maximum(blocks, 0).mean()
    if not body.any():
        raise RegionError(_("No warm region was found in this volume. Draw an ROI."))
    mean, deviation = neighbourhood(blocks)
    level = blocks[body].mean()
    warm = (mean > WARM[0] * level) & (mean < WARM[1] * level)
    if not warm.any():
        warm = mean > 0.5 * level
    unevenness = np.where(warm & (mean > 0), deviation / np.maximum(mean, 1e-12), np.inf)
    block = np.unravel_index(int(np.argmin(unevenness)), blocks.shape)
    if not np.isfinite(unevenness[block]):
        raise RegionError(_("No even region was found in this volume. Draw an ROI."))
    centre = [(index + 0.5) * step for index, step in zip(block, steps, strict=True)]
    return sphere(voxels.shape, centre, spacing_mm, _("liver-like (automatic)"))


def blockMeans(voxels: np.ndarray, steps) -> Generator[None, None, np.ndarray]:
    """Returns means over blocks of `steps` voxels [z, y, x]; what does not fill a block at the end is left out."""
    counts = [max(1, size // step) for size, step in zip(voxels.shape, steps, strict=True)]
    steps = [min(step, size) for step, size in zip(steps, voxels.shape, strict=True)]
    cut = voxels[tuple(slice(0, count * step) for count, step in zip(counts, steps, strict=True))]
    means = np.empty(counts, np.float32)
    shape = [part for count, step in zip([1, *counts[1:]], steps, strict=True) for part in (count, step)]
    for layer in range(counts[0]):
        slab = cut[layer * steps[0] : (layer + 1) * steps[0]]
        means[layer] = slab.reshape(shape).mean(axis=(1, 3, 5), dtype=np.float32)[0]
        yield
    return means


def neighbourhood(blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each block with its 26 neighbours; the rim counts its neighbours twice."""
    padded = np.pad(blocks.astype(np.float64), 1, mode="reflect" if min(blocks.shape) > 1 else "edge")
    total, squares = np.zeros(blocks.shape), np.zeros(blocks.shape)
    z, y, x = blocks.shape
    for dz in range(3):
        for dy in range(3):
            for dx in range(3):
                part = padded[dz : dz + z, dy : dy + y, dx : dx + x]
                total += part
                squares += part * part
    mean = total / 27
    return mean, np.sqrt(np.maximum(squares / 27 - mean * mean, 0))


def sphere(shape, centre, spacing_mm, name: str) -> Region:
    """A sphere around `centre` (voxel edges counted from 0, z y x), cut at the volume's rim."""
    edges = list(reversed(spacing_mm))
    low = [max(0, int((c * e - RADIUS_MM) / e)) for c, e in zip(centre, edges, strict=True)]
    high = [min(size, int((c * e + RADIUS_MM) / e) + 1) for c, e, size in zip(centre, edges, shape, strict=True)]
    axes = [(np.arange(a, b) + 0.5 - c) * e for a, b, c, e in zip(low, high, centre, edges, strict=True)]
    distance = axes[0][:, None, None] ** 2 + axes[1][None, :, None] ** 2 + axes[2][None, None, :] ** 2
    return _region(name, low, high, distance <= RADIUS_MM**2)


def insideRoi(roiNode, volumeNode) -> Generator[None, None, Region]:
    """Returns the voxels whose centres lie in a markups ROI (box), wherever transforms put the two."""
    parent = roiNode.GetParentTransformNode()
    if parent is not None and not parent.IsTransformToWorldLinear():
        raise RegionError(
            _("{name} is under a non-linear transform and no box any more. Harden the transform, or draw another ROI.")
            .format(name=roiNode.GetName())
        )  # fmt: skip
    half = np.array(roiNode.GetSize()) / 2 + 1e-9
    worldToObject = np.linalg.inv(_matrix(roiNode.GetObjectToWorldMatrix()))
    low, high = yield from _boxAround(volumeNode, worldToObject, half)
    if any(a >= b for a, b in zip(low, high, strict=True)):
        raise RegionError(_("The ROI lies outside this volume. Move it onto the body."))
    mask = np.empty([b - a for a, b in zip(low, high, strict=True)], bool)
    for layer in range(low[0], high[0]):
        ijk = _indices(range(layer, layer + 1), range(low[1], high[1]), range(low[2], high[2]))
        inside = np.abs(_moved(worldToObject, worldOf(volumeNode, ijk))) <= half
        mask[layer - low[0]] = inside.all(axis=1).reshape(mask.shape[1:])
        yield
    return _region(roiNode.GetName(), low, high, mask)


def _boxAround(volumeNode, worldToObject: np.ndarray, half: np.ndarray) -> Generator[None, None, tuple]:
    """Returns low and high [z, y, x] of a part that holds the ROI, found on every few voxels of the volume.

    Where the volume is bent, nobody knows where the ROI's corners lie in it without going through the volume.
    """
    steps = [max(1, size // COARSE) for size in reversed(volumeNode.GetImageData().GetDimensions())]
    sizes = list(reversed(volumeNode.GetImageData().GetDimensions()))
    axes = [sorted({*range(0, size, step), size - 1}) for size, step in zip(sizes, steps, strict=True)]
    world = []
    for layer in axes[0]:
        world.append(_moved(worldToObject, worldOf(volumeNode, _indices([layer], axes[1], axes[2]))))
        yield
    places = np.stack(world).reshape(len(axes[0]), len(axes[1]), len(axes[2]), 3)
    # No voxel between two coarse ones is farther from the nearer one than the longest way between neighbours.
    ways = [np.linalg.norm(np.diff(places, axis=axis), axis=-1) for axis in range(3)]
    reach = sum(float(way.max()) for way in ways if way.size)
    near = (np.abs(places) <= half + reach).all(axis=-1)
    if not near.any():
        return [0, 0, 0], [0, 0, 0]
    found = [np.flatnonzero(near.any(axis=tuple(a for a in range(3) if a != axis)))[[0, -1]] for axis in range(3)]
    low = [max(0, axes[axis][first] - steps[axis]) for axis, (first, _last) in enumerate(found)]
    high = [min(sizes[axis], axes[axis][last] + steps[axis] + 1) for axis, (_first, last) in enumerate(found)]
    return low, high


def worldOf(volumeNode, ijk: np.ndarray) -> np.ndarray:
    """World RAS [n, 3] of voxel indices [n, 3], through every transform, bent ones as well."""
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    places = _moved(_matrix(matrix), ijk)
    parent = volumeNode.GetParentTransformNode()
    if parent is None:
        return places
    toWorld, points, moved = vtk.vtkGeneralTransform(), vtk.vtkPoints(), vtk.vtkPoints()
    parent.GetTransformToWorld(toWorld)
    points.SetDataTypeToDouble()
    moved.SetDataTypeToDouble()
    points.SetData(numpy_support.numpy_to_vtk(np.ascontiguousarray(places, np.float64), deep=True))
    toWorld.TransformPoints(points, moved)
    return numpy_support.vtk_to_numpy(moved.GetData()).copy()


def _indices(layers, rows, columns) -> np.ndarray:
    """i, j, k [n, 3] of all voxels of these layers, rows and columns; columns run fastest."""
    k, j, i = np.meshgrid(layers, rows, columns, indexing="ij")
    return np.stack([i, j, k], axis=-1).reshape(-1, 3)


def _moved(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def insideSegment(segmentationNode, segmentID: str, volumeNode) -> Generator[None, None, Region]:
    """Returns the voxels of a segment, resampled by Slicer onto the volume's grid."""
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(segmentationNode, segmentID, volumeNode)
    segment = segmentationNode.GetSegmentation().GetSegment(segmentID)
    name = segment.GetName() if segment is not None else segmentID
    yield
    if mask is None or not np.any(mask):
        raise RegionError(_("The segment {name} is empty in this volume.").format(name=name))
    mask = mask > 0
    yield
    bounds = [np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))[[0, -1]] for axis in range(3)]
    low, high = [int(first) for first, _last in bounds], [int(last) + 1 for _first, last in bounds]
    return _region(name, low, high, mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))])


def _matrix(matrix) -> np.ndarray:
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def _region(name: str, low, high, mask: np.ndarray) -> Region:
    if not mask.any():
        raise RegionError(_("The region {name} holds no voxel of this volume.").format(name=name))
    return Region(name, tuple(slice(a, b) for a, b in zip(low, high, strict=True)), mask)
