"""The mean-activity guard: what a restoration may not change is how much activity there is, and roughly where.

A low-dose scan is noisy but unbiased: smoothed enough, it is right. So the restored image is scaled, smoothly in
space, until its low-frequency content is that of the input; what the guard had to do is reported, never hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy import ndimage
from torch.nn import functional

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
    restored: torch.Tensor, scan: torch.Tensor, body: torch.Tensor, spacing_mm: Sequence[float]
) -> tuple[torch.Tensor, GuardReport]:
    """Scale `restored` to the low-frequency content and the body mean of `scan`; all [z, y, x], spacing (x, y, z).

    Returns the guarded image (zero outside `body`) and what was corrected.
    """
    sigma = [WIDTH_MM / 2.3548 / spacing for spacing in reversed(spacing_mm)]
    scan, restored = scan * body, restored * body
    smooth_scan, smooth_restored = (_smooth(image, sigma) for image in (scan, restored))
    floor = 1e-3 * smooth_scan.max()
    field = ((smooth_scan + floor) / (smooth_restored + floor)).clamp(1 / (1 + LIMIT), 1 + LIMIT)
    guarded = restored * field
    before, after, now = (_sum(image) for image in (scan, restored, guarded))
    guarded *= before / now
    change = (field[body] - 1).abs()
    return guarded, GuardReport(after / before - 1, float(change.median()), float(change.max()))


def _sum(image: torch.Tensor) -> float:
    """Exact enough and many times faster than in float64 throughout: only rows are summed in float32."""
    return float(image.sum(dim=-1).sum(dtype=torch.float64))


def _smooth(image: torch.Tensor, sigma: Sequence[float]) -> torch.Tensor:
    """A wide Gaussian on a coarse grid: block means first, so that its cost does not grow with its width."""
    factors = [max(1, int(s / 2)) for s in sigma]
    missing = [-n % f for n, f in zip(image.shape, factors, strict=True)]
    padded = functional.pad(image, [part for n in reversed(missing) for part in (0, n)])
    blocks = [part for n, f in zip(padded.shape, factors, strict=True) for part in (n // f, f)]
    coarse = padded.reshape(blocks).mean(dim=(1, 3, 5)).cpu().numpy()
    coarse = ndimage.gaussian_filter(coarse, [s / f for s, f in zip(sigma, factors, strict=True)], mode="constant")
    # Sample the coarse blocks at the fine voxels' centres, held at the ends.
    fine = functional.interpolate(
        torch.from_numpy(coarse).to(image.device)[None, None], size=tuple(padded.shape), mode="trilinear"
    )
    return fine[0, 0][tuple(slice(0, n) for n in image.shape)]
