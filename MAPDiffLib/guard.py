"""The mean-activity guard: what a restoration may not change is how much activity there is, and roughly where.

A low-dose scan is noisy but unbiased: smoothed enough, it is right. So the restored image is scaled, smoothly in
space, until its low-frequency content is that of the input; what the guard had to do is reported, never hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

WIDTH_MM = 60.0  # FWHM: at 1/100 dose the input's own noise at this width stays under about 1 %
LIMIT = 0.10  # the guard corrects drift; a ratio beyond this is a lesion's edge or a fault and is held here
TOLERANCE = 0.01  # promised agreement of the mean activity in the body


@dataclass(frozen=True)
class GuardReport:
    """drift: restored mean over input mean in the body, minus 1, before the guard; local_*: the field it applied."""

    drift: float
    local_median: float
    local_max: float


def guard_activity(
    restored: np.ndarray, scan: np.ndarray, body: np.ndarray, spacing_mm: Sequence[float]
) -> tuple[np.ndarray, GuardReport]:
    """Scale `restored` to the low-frequency content and the body mean of `scan`; all [z, y, x], spacing (x, y, z).

    Returns the guarded image (zero outside `body`) and what was corrected.
    """
    inside = body.astype(np.float32)
    sigma = [WIDTH_MM / 2.3548 / spacing for spacing in reversed(spacing_mm)]
    smooth_scan, smooth_restored = (_smooth(image * inside, sigma) for image in (scan, restored))
    floor = 1e-3 * float(smooth_scan.max())
    ratio = (smooth_scan + floor) / (smooth_restored + floor)
    field = np.clip(ratio, 1 / (1 + LIMIT), 1 + LIMIT)
    guarded = restored * field * inside
    means = [float(image[body].mean(dtype=np.float64)) for image in (scan, restored, guarded)]
    guarded *= np.float32(means[0] / means[2])
    change = np.abs(field[body] - 1)
    return guarded, GuardReport(means[1] / means[0] - 1, float(np.median(change)), float(change.max()))


def _smooth(image: np.ndarray, sigma: Sequence[float]) -> np.ndarray:
    """A wide Gaussian on a coarse grid: block means first, so that its cost does not grow with its width."""
    factors = [max(1, int(s / 2)) for s in sigma]
    padded = np.pad(image, [(0, -n % f) for n, f in zip(image.shape, factors, strict=True)])
    shape = [part for n, f in zip(padded.shape, factors, strict=True) for part in (n // f, f)]
    coarse = padded.reshape(shape).mean(axis=(1, 3, 5), dtype=np.float32)
    coarse = ndimage.gaussian_filter(coarse, [s / f for s, f in zip(sigma, factors, strict=True)], mode="constant")
    # Sample the coarse blocks at the fine voxels' centres.
    grids = [(np.arange(n) + 0.5) / f - 0.5 for n, f in zip(image.shape, factors, strict=True)]
    for axis, grid in enumerate(grids):
        coarse = _interpolate(coarse, grid, axis)
    return coarse


def _interpolate(image: np.ndarray, positions: np.ndarray, axis: int) -> np.ndarray:
    """Linear interpolation along one axis, held at the ends."""
    last = image.shape[axis] - 1
    positions = np.clip(positions, 0, last)
    lower = np.minimum(positions.astype(int), max(0, last - 1))
    shape = [-1 if a == axis else 1 for a in range(3)]
    weight = (positions - lower).astype(np.float32).reshape(shape)
    upper = np.minimum(lower + 1, last)
    return image.take(lower, axis) * (1 - weight) + image.take(upper, axis) * weight
