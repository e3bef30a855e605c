"""The grid that the network works on: the scan's own, or a coarser one where its noise is wider than any in training.

A network knows noise by its width in voxels. Where a scan has thin slices or a wide post-filter its noise looks like
anatomy to it; on voxels of a size at which the noise is as wide as the widest in training it is noise again. Little is
lost on the way there and back: image and noise went through the same filters, so that neither is finer than the other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from scipy import ndimage

from MAPDiffLib.restoration.box import BodyBox

LEAST_GAIN = 1.15  # a grid hardly coarser than the scan's own would cost interpolation and give nothing


@dataclass(frozen=True)
class WorkingGrid:
    """A box of `shape` [z, y, x] as the network sees it: `working` voxels along each axis, padded for halving."""

    shape: tuple[int, int, int]
    working: tuple[int, int, int]
    frame: BodyBox

    @classmethod
    def of(
        cls, shape: Sequence[int], spacing_mm: Sequence[float], wanted_mm: Sequence[float], stride: int
    ) -> WorkingGrid:
        """For a box [z, y, x] with `spacing_mm` (x, y, z) voxels of about `wanted_mm` (z, y, x), never finer ones."""
        working = tuple(
            max(1, round(n * own / wanted)) if wanted > LEAST_GAIN * own else n
            for n, own, wanted in zip(shape, reversed(spacing_mm), wanted_mm, strict=True)
        )
        return cls(tuple(shape), working, BodyBox.whole(working, stride))

    def spacing_mm(self, own_mm: Sequence[float]) -> tuple[float, float, float]:
        """The working voxels (x, y, z) where the box's are `own_mm` (x, y, z)."""
        factors = (n / m for n, m in zip(reversed(self.shape), reversed(self.working), strict=True))
        return tuple(own * factor for own, factor in zip(own_mm, factors, strict=True))

    def to_working(self, image: torch.Tensor) -> torch.Tensor:
        """An image of the box [z, y, x], float32, on the working grid."""
        return self.frame.pad(_resampled(image, self.working))

    def mask_to_working(self, mask: torch.Tensor) -> torch.Tensor:
        """A mask of the box on the working grid: where at least half of a voxel was in it."""
        return self.to_working(mask.float()) > 0.5

    def from_working(self, image: torch.Tensor) -> torch.Tensor:
        """An image of the working grid in the box again."""
        return _resampled(self.frame.unpad(image), self.shape)


def wanted_voxels(
    widths_mm: Sequence[float] | None, noise_voxels: Sequence[float] | None, coarsest_mm: float
) -> tuple[float, float, float]:
    """The voxels (z, y, x) in mm on which noise of these widths (z, y, x) is as wide as the widest in training.

    noise_voxels: that width in voxels, axial and in plane; None, or no widths: as fine as they come. Never coarser than
    the coarsest voxels in training. In plane both axes follow the narrower noise.
    """
    if widths_mm is None or noise_voxels is None:
        return (0.0, 0.0, 0.0)
    axial, in_plane = noise_voxels
    known = [0.0 if math.isnan(width) else width for width in widths_mm]
    plane = min(coarsest_mm, min(known[1:]) / in_plane)
    return (min(coarsest_mm, known[0] / axial), plane, plane)


def _resampled(image: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Cubic splines along each axis, held within what the image itself goes down to: activity shall not undershoot."""
    changed = image
    for axis, length in enumerate(shape):
        if length != image.shape[axis]:
            matrix = torch.from_numpy(_spline(image.shape[axis], length)).to(changed)
            changed = torch.tensordot(matrix, changed, dims=([1], [axis])).movedim(0, axis)
    return image if changed is image else changed.clamp(min=float(image.min())).contiguous()


@lru_cache(maxsize=12)
def _spline(length: int, wanted: int) -> np.ndarray:
    """Cubic spline interpolation of `length` voxels to `wanted` between the same ends, as a matrix: for any device."""
    every = np.eye(length)
    return ndimage.zoom(every, (wanted / length, 1), order=3, grid_mode=True, mode="nearest").astype(np.float32)
