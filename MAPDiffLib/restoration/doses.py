"""Doses: the ladder, the anchors and their timesteps, the input's own dose, and what lies between two doses.

A dose is a fraction of full dose in (0, 1]. Symbols after MAP-Diff (arXiv 2603.02012): tau_j is the timestep whose
simulated degradation matches the real dose-j scan; a(t) is the anchor that supervises timestep t.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from MAPDiffLib.errors import InputError
from MAPDiffLib.job import ASSUMED_DOSE, dose_label, parse_dose
from MAPDiffLib.model.manifest import Anchor, DoseCalibration

__all__ = [
    "ANCHOR_DOSES", "DoseEstimate", "anchor_of", "anchor_weight", "assumed_dose", "at_dose", "dose_label",
    "dose_of_noise", "match_degradation", "mix", "mix_share", "own_share", "parse_dose",
]  # fmt: skip

ANCHOR_DOSES = (0.1, 0.25, 0.5, 1.0)
NOISE_DOUBT = 10.0  # sensitivity, scan time, filter and voxels move a scan's noise by as much as this factor in dose


def anchor_of(t: torch.Tensor, anchors: Sequence[Anchor]) -> torch.Tensor:
    """a(t) as an index into `anchors` (ascending dose, falling tau): [tau_1, T) -> 0, [tau_2, tau_1) -> 1, ..."""
    boundaries = torch.tensor([anchor.tau for anchor in anchors[:-1]], device=t.device)
    return (t[..., None] < boundaries).sum(dim=-1)


def anchor_weight(t: torch.Tensor, timesteps: int, power: float) -> torch.Tensor:
    """w(t) = (1 - t/T)^p: late, nearly noise-free timesteps count most."""
    return (1 - t / timesteps) ** power


def match_degradation(simulated: np.ndarray, real: Sequence[float]) -> int:
    """tau = argmin_t |d_sim(t) - d_real|^2; `simulated` [t, 2] and `real` [2] hold d = (NMAE, 1 - SSIM)."""
    return int(np.argmin(((np.asarray(simulated) - np.asarray(real)) ** 2).sum(axis=1)))


def at_dose(scan: np.ndarray, noise_free: np.ndarray, own_dose: float, dose: float) -> np.ndarray:
    """The image at `dose` of which a scan of `own_dose` is part: its own counts, and for the rest what is expected.

    E[image at d | scan] = (d0 / d) scan + (1 - d0 / d) E[noise-free image | scan], at full dose too.
    """
    share = own_share(own_dose, dose)
    return share * scan + (1 - share) * noise_free


def own_share(own_dose: float, dose: float) -> float:
    """How much of the image at `dose` the scan of `own_dose` is. InputError unless 0 < own dose <= dose <= 1."""
    if not 0 < own_dose <= dose <= 1:
        raise InputError(f"dose {dose:g} does not lie between the scan's own, {own_dose:g}, and full dose")
    return own_dose / dose


def mix(low: np.ndarray, high: np.ndarray, low_dose: float, dose: float, high_dose: float = 1.0) -> np.ndarray:
    """The image at `dose` between two nested doses by inverse-dose interpolation: linear in 1/dose.

    Counts at low dose are part of those at high dose, so E[image at d | low] = s * low + (1 - s) * E[high | low]
    with s falling from 1 at low_dose to 0 at high_dose, linear in 1/d.
    """
    share = mix_share(low_dose, dose, high_dose)
    return share * low + (1 - share) * high


def mix_share(low_dose: float, dose: float, high_dose: float = 1.0) -> float:
    """The weight of the lower of two doses in the image at `dose`. InputError unless low <= dose <= high."""
    if not 0 < low_dose <= dose <= high_dose <= 1:
        raise InputError(f"dose {dose:g} does not lie between {low_dose:g} and {high_dose:g}")
    return 0.0 if low_dose == high_dose else (1 / dose - 1 / high_dose) / (1 / low_dose - 1 / high_dose)


@dataclass(frozen=True)
class DoseEstimate:
    """The dose a scan looks like, with the 90 % interval that the calibration cases allow."""

    dose: float
    low: float
    high: float
    noise: float

    def __str__(self) -> str:
        dose, low, high = (dose_label(_unit_fraction(each)) for each in (self.dose, self.low, self.high))
        return f"{dose} ({low} to {high})"


def dose_of_noise(noise: float, calibration: DoseCalibration) -> DoseEstimate:
    """The dose that a measured noise looks like: interpolated in the logarithm, held at the ends of the calibration."""
    log_noise = -np.log(max(noise, 1e-6))
    log_dose = float(np.interp(log_noise, -np.log(calibration.noise), np.log(calibration.doses)))
    spread = 1.645 * calibration.scatter
    bounded = [min(1.0, math.exp(log_dose + delta)) for delta in (0.0, -spread, spread)]
    return DoseEstimate(*bounded, noise=noise)


def assumed_dose(estimate: DoseEstimate | None, asked: Sequence[float] | None) -> float:
    """The dose of a scan that nobody says: ASSUMED_DOSE, or the nearest that its noise makes possible, a unit fraction.

    The noise rules out little (NOISE_DOUBT), so it never stands against a restoration; nor does an assumption stand
    against the doses `asked` for: it is then half the lowest of them.
    """
    dose = ASSUMED_DOSE
    if estimate is not None:
        dose = min(max(dose, estimate.dose / NOISE_DOUBT), estimate.dose * NOISE_DOUBT)
    if asked and min(asked) <= dose:
        dose = min(asked) / 2
    return _unit_fraction(dose)


def _unit_fraction(dose: float) -> float:
    return 1 / round(1 / dose)
