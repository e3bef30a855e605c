"""The grid that the network works on: the scan's own, or one of thicker slices where its noise is long along z.

A network knows noise by its width in voxels. Thin slices and axial filters make it longer along z than training has
shown, and some of it stays. On slices so thick that it is as long as usual it is noise again. Little is lost on the way
there and back: the image went through the same filters as its noise, and is no finer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from scipy import ndimage

from MAPDiffLib.restoration.along_axis import along
from MAPDiffLib.restoration.box import BodyBox
from MAPDiffLib.restoration.noise import Noise

# How long noise is along z, in slices: so much, or this share of its width across in voxels where that is more. What
# the network restores best of validation cases of scanners that training lacks.
LENGTH, SHARE_OF_WIDTH = 2.2, 0.8
LEAST_GAIN = 1.15  # slices hardly thicker would cost interpolation and give nothing


@dataclass(frozen=True)
class WorkingGrid:
    """A box of `shape` [z, y, x] as the network sees it: with as many `slices`, padded for halving by `frame`."""

    shape: tuple[int, int, int]
    slices: int
    frame: BodyBox

    @classmethod
    def of(cls, shape: Sequence[int], spacing_mm: Sequence[float], noise: Noise, stride: int) -> WorkingGrid:
        """For a box [z, y, x] of voxels (x, y, z) with this noise, padded to multiples of `stride`."""
        _, axial, plane = noise.in_voxels(spacing_mm)
        thicker = axial / max(LENGTH, SHARE_OF_WIDTH * plane)
        slices = max(1, round(shape[0] / thicker)) if thicker > LEAST_GAIN else shape[0]
        return cls(tuple(shape), slices, BodyBox.whole((slices, *shape[1:]), stride))

    def spacing_mm(self, own_mm: Sequence[float]) -> tuple[float, float, float]:
        """The working voxels (x, y, z) where the box's are `own_mm`."""
        return *own_mm[:2], own_mm[2] * (self.shape[0] / self.slices)

    def to_working(self, image: torch.Tensor) -> torch.Tensor:
        """An image of the box [z, y, x], float32, on the working grid, padded."""
        return self.frame.pad(resampled(image, (self.slices, *self.shape[1:])))

    def mask_to_working(self, mask: torch.Tensor) -> torch.Tensor:
        """A mask of the box on the working grid: where at least half of a voxel was in it."""
        return self.to_working(mask.float()) > 0.5

    def from_working(self, image: torch.Tensor) -> torch.Tensor:
        """An image of the working grid in the box again, without padding."""
        return resampled(self.frame.unpad(image), self.shape)


def resampled(image: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Cubic splines along each axis, held within what the image itself goes down to: activity shall not undershoot."""
    changed = image
    for axis, length in enumerate(shape):
        if length != image.shape[axis]:
            changed = along(changed, axis, _spline(image.shape[axis], length))
    return image if changed is image else changed.clamp(min=float(image.min())).contiguous()


@lru_cache(maxsize=12)
def _spline(length: int, wanted: int) -> np.ndarray:
    """Cubic spline interpolation of `length` voxels to `wanted` between the same ends, as a matrix: for any device."""
    every = np.eye(length)
    return ndimage.zoom(every, (wanted / length, 1), order=3, grid_mode=True, mode="nearest").astype(np.float32)
