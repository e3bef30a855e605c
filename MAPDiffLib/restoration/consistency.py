"""Where scan and restored image disagree by more than the scan's noise explains.

z: the logarithm of the ratio of their Gaussian means, in units of its local deviation. In the logarithm the noise's
tails are nearly Gaussian, in activity they are ten times heavier. z > 0: the scan holds more than the restored image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy import ndimage

from MAPDiffLib.restoration.local_noise import gaussian_mean, noise_deviation
from MAPDiffLib.scan.volume import Volume

WIDTH_MM = 12.0  # FWHM of the means: about a lesion that a reader must not lose
FLOOR = 0.05  # of the body's mean: added to both means, so that cold places do not divide by nothing
APART_MM = 20.0  # between two places in a list
PLACE_Z = 4.5  # |z| of a place to check (`mapdiff-train fidelity`: three a scan where nothing was lost)


@dataclass(frozen=True)
class Consistency:
    """A scan against what is restored from it; images float32 [z, y, x] in the scan's units, body bool, on one device.

    The noise is that of the image given here: the same measure then serves for images made from it.
    """

    scan: torch.Tensor
    restored: torch.Tensor
    body: torch.Tensor
    spacing_mm: Sequence[float]

    def z(self, image: torch.Tensor) -> torch.Tensor:
        """z of the scan against `image`, zero outside the body."""
        return self._log_ratio(image).div_(self._deviation).mul_(self.body)

    def _log_ratio(self, image: torch.Tensor) -> torch.Tensor:
        """By the root of how much of each mean lies in the body: fewer voxels are noisier."""
        return (self._scan_mean / self._mean(image)).log_().mul_(self._weight.sqrt())

    def _mean(self, image: torch.Tensor) -> torch.Tensor:
        means = gaussian_mean(image * self.body, WIDTH_MM, self.spacing_mm).div_(self._weight)
        return means.clamp_(min=0).add_(FLOOR * self._level)

    @cached_property
    def _level(self) -> float:
        return float((self.scan * self.body).sum(dtype=torch.float64) / self.body.sum())

    @cached_property
    def _weight(self) -> torch.Tensor:
        return gaussian_mean(self.body.to(self.scan.dtype), WIDTH_MM, self.spacing_mm).clamp_(min=0.05)

    @cached_property
    def _scan_mean(self) -> torch.Tensor:
        return self._mean(self.scan)

    @cached_property
    def _deviation(self) -> torch.Tensor:
        """Of the log-ratio with the restored image given here."""
        ratio = self._log_ratio(self.restored)
        return noise_deviation(ratio, self._mean(self.restored) / self._level, self.body, self.spacing_mm)


@dataclass(frozen=True)
class Place:
    """Where to look: LPS millimetres, its z, and the mean activity there in scan and restored image (scan's units)."""

    position_mm_lps: tuple[float, float, float]
    z: float
    scan: float
    restored: float


def places_to_check(
    scan: Volume, restored: Volume, z: Volume, threshold: float = PLACE_Z, most: int = 20
) -> list[Place]:
    """The peaks of |z| beyond the threshold, the furthest first, at least APART_MM from each other, at most `most`."""
    size = [2 * max(1, round(0.5 * APART_MM / spacing)) + 1 for spacing in reversed(scan.spacing_mm)]
    beyond = np.abs(z.voxels)
    peaks = np.argwhere((beyond > threshold) & (beyond == ndimage.maximum_filter(beyond, size)))
    peaks = sorted(map(tuple, peaks), key=lambda index: (-beyond[index], index))
    spacing, found = np.array(scan.spacing_mm[::-1]), []
    for index in peaks:
        distances = [np.linalg.norm((np.array(index) - other) * spacing) for other in found]
        if len(found) < most and min(distances, default=np.inf) >= APART_MM:
            found.append(index)
    means = [[_mean_around(volume, index) for volume in (scan, restored)] for index in found]
    return [
        Place(position_mm(scan, index), float(z.voxels[index]), *values)
        for index, values in zip(found, means, strict=True)
    ]


def position_mm(volume: Volume, index: Sequence[int]) -> tuple[float, float, float]:
    """The LPS position of a voxel (z, y, x) in mm."""
    steps = np.array(index[::-1], float) * volume.spacing_mm
    return tuple(float(x) for x in np.array(volume.origin_mm) + np.array(volume.direction).reshape(3, 3) @ steps)


def _mean_around(volume: Volume, index: Sequence[int]) -> float:
    """The mean over a ball as wide as the means of z."""
    reach = [int(0.5 * WIDTH_MM / spacing) for spacing in reversed(volume.spacing_mm)]
    box = tuple(slice(max(0, i - r), i + r + 1) for i, r in zip(index, reach, strict=True))
    axes = [
        (np.arange(part.start, min(part.stop, n)) - i) * s
        for part, n, i, s in zip(box, volume.voxels.shape, index, reversed(volume.spacing_mm), strict=True)
    ]
    z, y, x = np.ix_(*axes)
    return float(volume.voxels[box][z**2 + y**2 + x**2 <= (0.5 * WIDTH_MM) ** 2].mean(dtype=np.float64))
