"""Numbers of a region: what is read off each image, and the best estimate of its mean with a 90 % interval.

A low-dose scan is noisy and right on average; a restored one is quiet and pulls small things towards what is usual. How
noisy the scan's mean over this very region is shows in what the restoration took away next to it: so scan and restored
image are weighed, region by region, by how far they lie apart in units of that noise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy import signal

from MAPDiffLib.errors import InputError
from MAPDiffLib.model.fidelity import Fidelity
from MAPDiffLib.restoration.local_noise import MAD, activity_power, noise_deviation, smooth_activity
from MAPDiffLib.scan.geometry import bounding_box

PEAK_ML = 1.0  # SUVpeak: the hottest sphere of 1 mL (Wahl et al. 2009, PERCIST)
NEAR_MM = 60.0  # how far from a region its noise is looked at
LARGEST_ML = 8.0  # of larger regions the noise of so many mL, less by the root of how often they go into it
LEAST_PLACES = 30  # where a region's shape must fit for its noise to be measured
UNEXPLAINED = 2.5  # t beyond which the scan's noise does not explain the difference
NORMAL_90 = 1.645  # deviations in a 90 % interval


@dataclass(frozen=True)
class Readings:
    """What one image says of a region: in the image's unit, the volume in mL, total lesion glycolysis mean x volume."""

    mean: float
    max: float
    peak: float
    volume_ml: float
    tlg: float


@dataclass(frozen=True)
class BestEstimate:
    """Of scan and restored full dose together: the value, its 90 % interval, and how far the two lie apart.

    t: scan minus restored in deviations of the scan's noise over this region; nan where that cannot be measured: the
    value is the scan's then, without an interval.
    """

    value: float
    low: float
    high: float
    t: float

    @property
    def warning(self) -> str:
        """A sentence where the two lie further apart than noise explains, else ""."""
        if not abs(self.t) > UNEXPLAINED:
            return ""
        return f"the restored scan is {'lower' if self.t > 0 else 'higher'} here than its noise explains"


@dataclass(frozen=True)
class RegionStatistics:
    """Readings by image, "input" first, and the best estimates of the mean and of the peak."""

    readings: dict[str, Readings]
    mean: BestEstimate
    peak: BestEstimate


def best_estimate(
    scan: float,
    full: float,
    deviation: float,
    fidelity: Fidelity = Fidelity(),  # noqa: B008  (frozen)
) -> BestEstimate:
    """Weighs the scan's mean over a region and the restored one's by how wrong either may be: the scan by its standard
    deviation there, the restored image by its bias, a share of the larger of the two."""
    if not deviation > 0:
        return BestEstimate(scan, np.nan, np.nan, np.nan)
    bias = fidelity.bias * max(scan, full, 0.0)
    weight = bias**2 / (bias**2 + deviation**2)
    value = full + weight * (scan - full)
    # With these two errors weight x deviation^2 is the variance of what is left.
    half = NORMAL_90 * np.hypot(fidelity.tails * deviation * np.sqrt(weight), fidelity.least_error * value)
    return BestEstimate(float(value), float(value - half), float(value + half), float((scan - full) / deviation))


@dataclass(frozen=True)
class Quantifier:
    """A scan and its restored full dose, float32 [z, y, x] in one unit, with the body and the spacing (x, y, z), and
    what the bundle that restored it says of its errors."""

    scan: np.ndarray
    full: np.ndarray
    body: np.ndarray
    spacing_mm: Sequence[float]
    fidelity: Fidelity = Fidelity()

    def region(self, mask: np.ndarray, images: Mapping[str, np.ndarray]) -> RegionStatistics:
        """All numbers of a mask, bool [z, y, x], in the input and in `images`. InputError for an impossible mask."""
        if mask.shape != self.scan.shape:
            raise InputError(f"the mask has the shape {mask.shape}; that of the scan, {self.scan.shape}, is needed.")
        if not mask.any():
            raise InputError("the mask is empty: at least one voxel is needed.")
        images = {"input": self.scan, **images}
        readings = {name: read_region(image, mask, self.spacing_mm) for name, image in images.items()}
        return RegionStatistics(readings, self.best_mean(mask), self.best_mean(self._peak_sphere(mask)))

    def best_mean(self, region: np.ndarray) -> BestEstimate:
        """The mean over a region: a mask, or weights [z, y, x] that are not negative."""
        box = bounding_box(region)
        weights = region[box] / region[box].sum(dtype=np.float64)
        scan, full = (float((image[box] * weights).sum(dtype=np.float64)) for image in (self.scan, self.full))
        deviation = self.noise_factor * self.taken_away(region) * self.activity_left_out(scan, full)
        return best_estimate(scan, full, deviation, self.fidelity)

    def taken_away(self, region: np.ndarray, values: np.ndarray | None = None) -> float:
        """One standard deviation, over a region, of the mean of what the restoration took away, or of other `values`
        [z, y, x] that scatter around zero; nan where it cannot be measured.

        In units of the noise, the means over the region's own shape wherever it fits nearby; times the noise here.
        """
        box = bounding_box(region, [int(NEAR_MM / spacing) for spacing in reversed(self.spacing_mm)])
        noise = self._noise[box] if values is None else values[box] / self._deviation[box]
        shape, shrunk = self._shape(region)
        body = self.body[box].astype(np.float32)
        fits, own = _means(body, shape), _means((region[box] > 0).astype(np.float32), shape)
        means = _means(noise * body, shape)[(fits > 0.95) & (own < 0.05)]
        if len(means) < LEAST_PLACES:
            return float("nan")
        spread = MAD * float(np.median(np.abs(means - np.median(means))))
        return float(spread * shrunk * np.average(self._deviation[box], weights=region[box]))

    @cached_property
    def noise_factor(self) -> float:
        """By how much the scan's noise is more than what was taken away of it."""
        return self.fidelity.noise_factor * self.relative_noise**-self.fidelity.noise_power

    @cached_property
    def relative_noise(self) -> float:
        """What the restoration took away over the activity, anywhere in the body: its median deviation."""
        level = float(self.full[self.body].mean(dtype=np.float64))
        return float(np.median((self._deviation / self._activity.numpy())[self.body])) / level

    def activity_left_out(self, scan: float, full: float) -> float:
        """By how much the noise is more than at the restored activity, where the scan's is higher."""
        return (max(scan, full) / full) ** self._power if full > 0 else 1.0

    def _shape(self, region: np.ndarray) -> tuple[np.ndarray, float]:
        """The region as weights that sum to one, and by what its noise is less than that of these weights."""
        weights = region[bounding_box(region)].astype(np.float32)
        weights /= weights.sum()
        volume_ml = float(1 / np.square(weights).sum()) * np.prod(self.spacing_mm) / 1000
        if volume_ml <= LARGEST_ML:
            return weights, 1.0
        return sphere_weights(LARGEST_ML, self.spacing_mm).astype(np.float32), (LARGEST_ML / volume_ml) ** 0.5

    def _peak_sphere(self, mask: np.ndarray) -> np.ndarray:
        """The sphere of 1 mL, as weights, that is hottest in the restored image: noise has no say in where it lies."""
        box = bounding_box(mask)
        peaks = np.where(mask[box], sphere_means(self.full, mask, self.spacing_mm), -np.inf)
        centre = np.unravel_index(peaks.argmax(), peaks.shape)
        centre = [part.start + index for part, index in zip(box, centre, strict=True)]
        weights, placed = sphere_weights(PEAK_ML, self.spacing_mm), np.zeros(mask.shape, np.float32)
        spans = [(c - n // 2, c - n // 2 + n) for c, n in zip(centre, weights.shape, strict=True)]
        inside = tuple(slice(max(0, a), b) for a, b in spans)
        placed[inside] = weights[tuple(slice(max(0, -a), n - a) for (a, _), n in zip(spans, mask.shape, strict=True))]
        return placed

    @cached_property
    def _activity(self) -> torch.Tensor:
        return smooth_activity(torch.from_numpy(self.full), torch.from_numpy(self.body), self.spacing_mm)

    @cached_property
    def _residual(self) -> torch.Tensor:
        return torch.from_numpy((self.scan - self.full) * self.body)

    @cached_property
    def _power(self) -> float:
        body = torch.from_numpy(self.body)
        return activity_power(self._residual[body], self._activity[body])

    @cached_property
    def _deviation(self) -> np.ndarray:
        return noise_deviation(self._residual, self._activity, torch.from_numpy(self.body), self.spacing_mm).numpy()

    @cached_property
    def _noise(self) -> np.ndarray:
        return self._residual.numpy() / self._deviation


def read_region(image: np.ndarray, mask: np.ndarray, spacing_mm: Sequence[float]) -> Readings:
    """Mean, maximum, peak, volume and total lesion glycolysis of a mask that is not empty."""
    box = bounding_box(mask)
    inside = image[box][mask[box]]
    mean, volume_ml = float(inside.mean(dtype=np.float64)), float(inside.size * np.prod(spacing_mm) / 1000)
    peak = float(sphere_means(image, mask, spacing_mm)[mask[box]].max())
    return Readings(mean, float(inside.max()), peak, volume_ml, mean * volume_ml)


def sphere_means(image: np.ndarray, mask: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """The means over spheres of 1 mL around every voxel of the mask's box."""
    weights = sphere_weights(PEAK_ML, spacing_mm).astype(np.float32)
    reach = [n // 2 for n in weights.shape]
    box, wide = bounding_box(mask), bounding_box(mask, reach)
    means = signal.oaconvolve(np.asarray(image[wide], np.float32), weights, mode="same")
    return means[tuple(slice(a.start - b.start, a.stop - b.start) for a, b in zip(box, wide, strict=True))]


def sphere_weights(volume_ml: float, spacing_mm: Sequence[float], fine: int = 9) -> np.ndarray:
    """A sphere as weights [z, y, x] that sum to one; a voxel on its surface counts with the part inside."""
    radius = (3 * 1000 * volume_ml / (4 * np.pi)) ** (1 / 3)
    reach = [int(np.ceil(radius / s)) for s in reversed(spacing_mm)]
    axes = [
        (np.arange((2 * r + 1) * fine) + 0.5) / fine - (r + 0.5) for r in reach
    ]  # positions within the voxels, in voxels from the middle one's centre
    z, y, x = (axis * s for axis, s in zip(axes, reversed(spacing_mm), strict=True))
    inside = z[:, None, None] ** 2 + y[:, None] ** 2 + x**2 <= radius**2
    shape = [part for r in reach for part in (2 * r + 1, fine)]
    weights = inside.reshape(shape).mean(axis=(1, 3, 5))
    return weights / weights.sum()


def _means(image: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """The mean over `shape` (weights that sum to one) around every voxel."""
    return signal.oaconvolve(image, shape[::-1, ::-1, ::-1], mode="same")
