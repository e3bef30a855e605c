"""Where scan and restored image disagree by more than the scan's noise explains.

z: the logarithm of the ratio of their Gaussian means, in units of its local deviation. In the logarithm the noise's
tails are nearly Gaussian, in activity they are ten times heavier. z > 0: the scan holds more than the restored image.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
import torch
from scipy import ndimage

from MAPDiffLib.restoration.local_noise import gaussian_mean, noise_deviation
from MAPDiffLib.scan.volume import Volume

WIDTH_MM = 12.0  # FWHM of the means: about a lesion that a reader must not lose
FLOOR = 0.05  # of the body's mean: added to both means, so that cold places do not divide by nothing
APART_MM = 20.0  # between two places in a list
MOST_PLACES = 4  # in a list: at more nobody looks, and the first of them are the likeliest
LEAST_Z, NEAR_MM = 2.0, 6.0  # of a peak; it is the furthest from zero within so far along each axis
AROUND_MM = 20.0  # of a peak, the surroundings that it stands out of
BELIEVED = 3.0  # deviations of standing out that count
DIRECTIONS = np.array([d / np.linalg.norm(d) for d in product((-1, 0, 1), repeat=3) if any(d)])


@dataclass(frozen=True)
class Peak:
    """A voxel (z, y, x), its z, and the evidence that something was lost there (z < 0: made up).

    Evidence is |z| and, where the scan holds more, how far the restored image itself stands out, up to BELIEVED. A body
    has tens of thousands of places where noise can reach any z, but few hot spots: that one of these is too faint takes
    less to be believed.
    """

    index: tuple[int, int, int]
    z: float
    evidence: float


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
        ratio = self._own_ratio if image is self.restored else self._log_ratio(self._mean(image))
        return (ratio / self._deviation).mul_(self.body)

    def _log_ratio(self, mean: torch.Tensor) -> torch.Tensor:
        """By the root of how much of each mean lies in the body: fewer voxels are noisier."""
        return (self._scan_mean / mean).log_().mul_(self._weight.sqrt())

    def _mean(self, image: torch.Tensor) -> torch.Tensor:
        means = gaussian_mean(image * self.body, WIDTH_MM, self.spacing_mm).div_(self._weight)
        return means.clamp_(min=0).add_(FLOOR * self._level)

    def peaks(self) -> list[Peak]:
        """Where z against the restored image given here is furthest from zero in NEAR_MM, beyond LEAST_Z."""
        z = self.z(self.restored).cpu().numpy()
        furthest = _furthest(np.abs(z), [max(1, round(NEAR_MM / spacing)) for spacing in reversed(self.spacing_mm)])
        above = z[tuple(furthest.T)] > 0
        up, down = furthest[above], furthest[~above]
        stands_out = self._stands_out(up)
        found = [
            Peak(tuple(map(int, index)), float(z[tuple(index)]), float(z[tuple(index)] + min(max(0.0, out), BELIEVED)))
            for index, out in zip(up, stands_out, strict=True)
        ]
        return found + [Peak(tuple(map(int, index)), *(float(s * z[tuple(index)]) for s in (1, -1))) for index in down]

    def _stands_out(self, indices: np.ndarray) -> np.ndarray:
        """By how much the restored image itself is hotter at voxels [n, 3] than the hottest AROUND_MM away, in units of
        the noise; [n]."""
        log_means = self._restored_mean.log().cpu().numpy()
        steps = DIRECTIONS * (AROUND_MM / np.array(self.spacing_mm[::-1]))
        points = (indices[:, None] + steps).reshape(-1, 3).T
        around = ndimage.map_coordinates(log_means, points, order=1, mode="nearest").reshape(len(indices), len(steps))
        here = tuple(indices.T)
        return (log_means[here] - around.max(axis=1)) / self._deviation.cpu().numpy()[here]

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
    def _restored_mean(self) -> torch.Tensor:
        return self._mean(self.restored)

    @cached_property
    def _own_ratio(self) -> torch.Tensor:
        return self._log_ratio(self._restored_mean)

    @cached_property
    def _deviation(self) -> torch.Tensor:
        """Of the log-ratio with the restored image given here."""
        return noise_deviation(self._own_ratio, self._restored_mean / self._level, self.body, self.spacing_mm)


def _furthest(away: np.ndarray, reach: Sequence[int]) -> np.ndarray:
    """The voxels [n, 3] of more than LEAST_Z that none within `reach` voxels along each axis exceeds.

    From the nearest neighbours on: they leave so few that a filter over the whole image would take many times as long.
    """
    padded = np.pad(away, [(r, r) for r in reach])
    steps = sorted(product(*(range(-r, r + 1) for r in reach)), key=lambda step: sum(abs(n) for n in step))
    values, strides = padded.ravel(), np.array([padded.shape[1] * padded.shape[2], padded.shape[2], 1])
    places = np.flatnonzero(values > LEAST_Z)
    for step in np.array(steps) @ strides:
        places = places[values[places] >= values[places + step]]
    return np.transpose(np.unravel_index(places, padded.shape)) - reach


@dataclass(frozen=True)
class Place:
    """Where to look: LPS millimetres, its z, the evidence that the network lost something there (Peak: before a guard
    put it back), and the mean activity there in scan and restored image (scan's units)."""

    position_mm_lps: tuple[float, float, float]
    z: float
    evidence: float
    scan: float
    restored: float


def places_to_check(
    scan: Volume, restored: Volume, z: Volume, peaks: Iterable[Peak], threshold: float, most: int = MOST_PLACES
) -> list[Place]:
    """The peaks whose evidence is beyond the threshold, the strongest first, at least APART_MM from each other, at most
    `most`."""
    spacing, found = np.array(scan.spacing_mm[::-1]), []
    for peak in sorted(peaks, key=lambda peak: (-peak.evidence, peak.index)):
        if peak.evidence <= threshold or len(found) == most:
            break
        if all(np.linalg.norm(np.subtract(peak.index, other.index) * spacing) >= APART_MM for other in found):
            found.append(peak)
    return [
        Place(
            position_mm(scan, peak.index), float(z.voxels[peak.index]), peak.evidence,
            *(_mean_around(volume, peak.index) for volume in (scan, restored)),
        )
        for peak in found
    ]  # fmt: skip


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
