"""The activity guard: what a restoration may not change is how much activity there is, and roughly where.

A low-dose scan is noisy but unbiased: smoothed enough, it is right. So the restored image is scaled, smoothly in
space, until its low-frequency content is that of the input; and where the scan holds more than its noise explains
(consistency.py), what is missing is put back. What the guard had to do is reported, never hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy import ndimage

from MAPDiffLib.restoration.consistency import Consistency
from MAPDiffLib.restoration.local_noise import gaussian_mean

WIDTH_MM = 60.0  # FWHM: at 1/100 dose the input's own noise at this width stays under about 1 %
LIMIT = 0.10  # the guard corrects drift; a ratio beyond this is a lesion's edge or a fault and is held here
TOLERANCE = 0.01  # promised agreement of the mean activity in the body
# z beyond which activity is put back (`mapdiff-train fidelity`: lesions against false hot spots and NMAE).
THRESHOLDS = {"normal": 4.0, "strong": 3.25}
SPREAD_MM = 4.0  # FWHM of the soft edge of a place, and of what is put back in it


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


def guard_activity(
    restored: torch.Tensor,
    scan: torch.Tensor,
    body: torch.Tensor,
    spacing_mm: Sequence[float],
    strength: str | float = "off",
) -> tuple[torch.Tensor, GuardReport]:
    """`restored` with the low-frequency content and the body mean of `scan`; all [z, y, x], spacing (x, y, z).

    strength: "off" leaves it at that, "normal" and "strong", or a z, put significant local activity back too. Returns
    the guarded image (zero outside `body`) and what was corrected.
    """
    scan, restored = scan * body, restored * body
    smooth_scan, smooth_restored = (gaussian_mean(image, WIDTH_MM, spacing_mm) for image in (scan, restored))
    floor = 1e-3 * smooth_scan.max()
    field = ((smooth_scan + floor) / (smooth_restored + floor)).clamp(1 / (1 + LIMIT), 1 + LIMIT)
    before, after = _sum(scan), _sum(restored)
    guarded = restored * field
    guarded *= before / _sum(guarded)
    put_back, places = 0.0, 0
    threshold = THRESHOLDS.get(strength, strength)
    if threshold != "off":
        missing, places = significant_loss(guarded, scan, body, spacing_mm, threshold)
        put_back = _sum(missing) / before
        guarded += missing
        guarded *= before / _sum(guarded)
    change = (field[body] - 1).abs()
    return guarded, GuardReport(after / before - 1, float(change.median()), float(change.max()), put_back, places)


def significant_loss(
    restored: torch.Tensor, scan: torch.Tensor, body: torch.Tensor, spacing_mm: Sequence[float], threshold: float
) -> tuple[torch.Tensor, int]:
    """(the activity [z, y, x] that `restored` lacks where z is beyond the threshold, the number of these places).

    Upwards only: what a network removes looks like noise, what it makes up does not.
    """
    beyond = Consistency(scan, restored, body, spacing_mm).z(restored) > threshold
    _, places = ndimage.label(beyond.cpu().numpy())
    residual = gaussian_mean((scan - restored) * body, SPREAD_MM, spacing_mm).clamp_(min=0)
    return residual * gaussian_mean(beyond.to(scan.dtype), SPREAD_MM, spacing_mm) * body, places


def _sum(image: torch.Tensor) -> float:
    """Exact enough and many times faster than in float64 throughout: only rows are summed in float32."""
    return float(image.sum(dim=-1).sum(dtype=torch.float64))
