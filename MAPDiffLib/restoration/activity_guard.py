"""The activity guard: what a restoration may not change is how much activity there is, and roughly where.

A low-dose scan is noisy but unbiased: smoothed enough, it is right. So the restored image is scaled, smoothly in
space, until its low-frequency content is that of the input; and where something may have been lost (losses.py), what
is missing is put back. What the guard had to do is reported, never hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage

from MAPDiffLib.restoration.consistency import Consistency
from MAPDiffLib.restoration.local_noise import gaussian_mean
from MAPDiffLib.restoration.losses import Peak

WIDTH_MM = 60.0  # FWHM: at 1/100 dose the input's own noise at this width stays under about 1 %
LIMIT = 0.10  # the guard corrects drift; a ratio beyond this is a lesion's edge or a fault and is held here
TOLERANCE = 0.01  # promised agreement of the mean activity in the body
SPREAD_MM = 4.0  # FWHM of the soft edge of a place, and of what is put back in it
SURE = 3.0  # of log-odds beyond a threshold: what is put back grows from nothing to all of it on the way there
PLACE_SHARE, PLACE_MM = 0.5, 12.0  # a place: connected to its peak by at least this share of its z, no further away


@dataclass(frozen=True)
class GuardReport:
    """What the guard corrected.

    drift: restored mean over input mean in the body, minus 1, before; local_*: the smooth field it applied; put_back:
    the activity put back where the scan held significantly more, as a share of the body's, in so many `places`.
    """

    drift: float
    local_median: float
    local_max: float
    put_back: float = 0.0
    places: int = 0


@dataclass(frozen=True)
class Guarded:
    """A guarded image [z, y, x], zero outside the body, and what was corrected; `consistency`: the scan against it."""

    image: torch.Tensor
    report: GuardReport
    consistency: Consistency


def guard_activity(
    restored: torch.Tensor, scan: torch.Tensor, body: torch.Tensor, spacing_mm: Sequence[float]
) -> Guarded:
    """`restored` with the low-frequency content and the body mean of `scan`; all [z, y, x], spacing (x, y, z)."""
    scan, restored = scan * body, restored * body
    smooth_scan, smooth_restored = (gaussian_mean(image, WIDTH_MM, spacing_mm) for image in (scan, restored))
    floor = 1e-3 * smooth_scan.max()
    field = ((smooth_scan + floor) / (smooth_restored + floor)).clamp(1 / (1 + LIMIT), 1 + LIMIT)
    before, after = _sum(scan), _sum(restored)
    guarded = restored * field
    guarded *= before / _sum(guarded)
    change = (field[body] - 1).abs()
    report = GuardReport(after / before - 1, float(change.median()), float(change.max()))
    return Guarded(guarded, report, Consistency(scan, guarded, body, spacing_mm))


def put_back(
    consistency: Consistency, peaks: Sequence[Peak], threshold: float | None
) -> tuple[torch.Tensor, dict[str, float]]:
    """The restored image with what the scan holds more where the log-odds of a peak are beyond the threshold (None:
    nowhere), by how far they are, at the same mean; and what a GuardReport says of it."""
    if threshold is None:
        return consistency.restored, {}
    missing, places = significant_loss(consistency, peaks, threshold)
    total = _sum(consistency.restored)
    image = consistency.restored + missing
    return image.mul_(total / _sum(image)), {"put_back": _sum(missing) / total, "places": places}


def significant_loss(consistency: Consistency, peaks: Sequence[Peak], threshold: float) -> tuple[torch.Tensor, int]:
    """(the activity [z, y, x] that the restored image lacks where the log-odds are beyond the threshold, the number of
    these places).

    Low odds bring back a small share: where noise alone was at work, all of it would look like a lesion.
    Upwards only: what a network removes looks like noise, what it makes up does not.
    """
    chosen = [peak for peak in peaks if peak.log_odds > threshold]
    scan, restored, body, spacing_mm = consistency.scan, consistency.restored, consistency.body, consistency.spacing_mm
    shares = [min(1.0, (peak.log_odds - threshold) / SURE) for peak in chosen]
    lost = _places(consistency.z(restored).cpu().numpy(), chosen, shares, spacing_mm)
    residual = gaussian_mean((scan - restored) * body, SPREAD_MM, spacing_mm).clamp_(min=0)
    return residual * gaussian_mean(lost.to(scan.device), SPREAD_MM, spacing_mm) * body, len(chosen)


def _places(z: np.ndarray, peaks: Sequence[Peak], shares: Sequence[float], spacing_mm: Sequence[float]) -> torch.Tensor:
    """The largest share of a peak that a voxel belongs to, float32 [z, y, x]."""
    marked, steps = np.zeros(z.shape, np.float32), spacing_mm[::-1]
    for peak, share in zip(peaks, shares, strict=True):
        box = tuple(
            slice(max(0, i - int(PLACE_MM / s)), min(n, i + int(PLACE_MM / s) + 1))
            for i, s, n in zip(peak.index, steps, z.shape, strict=True)
        )
        away = sum(((g - i) * s) ** 2 for g, i, s in zip(np.ogrid[box], peak.index, steps, strict=True))
        connected, _ = ndimage.label((z[box] > PLACE_SHARE * peak.z) & (away <= PLACE_MM**2))
        own = connected[tuple(i - part.start for i, part in zip(peak.index, box, strict=True))]
        marked[box] = np.maximum(marked[box], share * (connected == own))
    return torch.from_numpy(marked)


def _sum(image: torch.Tensor) -> float:
    """Exact enough and many times faster than in float64 throughout: only rows are summed in float32."""
    return float(image.sum(dim=-1).sum(dtype=torch.float64))
