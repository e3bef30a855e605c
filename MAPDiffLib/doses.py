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
from MAPDiffLib.job import dose_label, parse_dose

__all__ = [
    "ANCHOR_DOSES", "Anchor", "DoseCalibration", "DoseEstimate", "anchor_of", "anchor_weight", "dose_label",
    "estimate_dose", "match_degradation", "mix", "mix_share", "parse_dose", "relative_noise",
]  # fmt: skip

ANCHOR_DOSES = (0.1, 0.25, 0.5, 1.0)


@dataclass(frozen=True)
class Anchor:
    """A real dose on the way and its calibrated timestep."""

    dose: float
    tau: int


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


def mix(low: np.ndarray, high: np.ndarray, low_dose: float, dose: float, high_dose: float = 1.0) -> np.ndarray:
    """The image at `dose` between two nested doses: linear in 1/dose.

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
        return f"1/{1 / self.dose:.0f} (1/{1 / self.low:.0f} to 1/{1 / self.high:.0f})"


def relative_noise(
    voxels: np.ndarray | torch.Tensor, body: np.ndarray | torch.Tensor, spacing_mm: Sequence[float]
) -> float | None:
    """Local relative noise of a scan, unit-free: the median over flat, warm parts of the body of local sd / local mean.

    voxels [z, y, x], body bool of the same shape (arrays, or tensors on any device), spacing (x, y, z) in mm. Flat: the
    quarter of the warm voxels (above half the body mean) where a 25 mm neighbourhood varies least, which leaves edges
    and lesions out. Neighbourhoods overlap by two thirds: every voxel's own would say the same at many times the cost.
    None where a body has no such part: it is too thin, or cold.
    """
    voxels, body = torch.as_tensor(voxels), torch.as_tensor(body)
    windows = [min(n, max(3, round(25 / s) | 1)) for n, s in zip(voxels.shape, reversed(spacing_mm), strict=True)]
    around = _around(body, windows)
    voxels, body = voxels[around], body[around]
    voxels = voxels / ((voxels * body).sum(dtype=torch.float64) / body.sum()).to(voxels.dtype)  # squares stay finite
    strides = [max(1, window // 3) for window in windows]
    mean, square = (_window_means(image, windows, strides) for image in (voxels, voxels.square()))
    centres = tuple(slice(w // 2, w // 2 + s * n, s) for w, s, n in zip(windows, strides, mean.shape, strict=True))
    warm = _eroded(body)[centres] & (mean > 0.5)
    if not warm.any():
        return None
    relative = ((square - mean.square())[warm].clamp(min=0).sqrt() / mean[warm]).cpu().numpy()
    return float(np.median(relative[relative <= np.quantile(relative, 0.25)]))


def _around(body: torch.Tensor, windows: Sequence[int]) -> tuple[slice, ...]:
    """The box around the body that holds every window centred in it."""
    hits = (body.any(dim=b).any(dim=a).nonzero() for a, b in ((0, 1), (0, 2), (1, 2)))  # x, y, z
    spans = [(int(h[0]), int(h[-1]) + 1) if len(h) else (0, 0) for h in hits][::-1]
    return tuple(slice(max(0, a - w // 2), b + w // 2) for (a, b), w in zip(spans, windows, strict=True))


def _window_means(image: torch.Tensor, windows: Sequence[int], strides: Sequence[int]) -> torch.Tensor:
    """Means over whole windows, one every `stride` voxels along each axis."""
    for axis, (window, stride) in enumerate(zip(windows, strides, strict=True)):
        image = image.unfold(axis, window, stride).mean(dim=-1)
    return image


def _eroded(body: torch.Tensor) -> torch.Tensor:
    """Twice without the voxels that have a face towards what is not body."""
    for _ in range(2):
        wide = torch.nn.functional.pad(body, (1,) * 6)
        inner = wide[1:-1, 1:-1, 1:-1]
        for axis in range(3):
            for start in (0, 2):
                inner = inner & wide[tuple(slice(*((start, start + n) if a == axis else (1, 1 + n)))
                                           for a, n in enumerate(body.shape))]  # fmt: skip
        body = inner
    return body


@dataclass(frozen=True)
class DoseCalibration:
    """Noise of scans of known dose: log(noise) per log(dose), and how far single scans scatter (sd of log dose)."""

    doses: tuple[float, ...]
    noise: tuple[float, ...]
    scatter: float

    def estimate(self, noise: float) -> DoseEstimate:
        """Dose for a measured noise: interpolated in the logarithm, held at the ends of the calibrated range."""
        log_dose = float(np.interp(-np.log(max(noise, 1e-6)), -np.log(self.noise), np.log(self.doses)))
        spread = 1.645 * self.scatter
        bounded = [min(1.0, math.exp(log_dose + delta)) for delta in (0.0, -spread, spread)]
        return DoseEstimate(*bounded, noise=noise)


def estimate_dose(
    voxels: np.ndarray, body: np.ndarray, spacing_mm: Sequence[float], calibration: DoseCalibration
) -> DoseEstimate | None:
    """The dose of a scan from its own noise; None where that cannot be measured."""
    noise = relative_noise(voxels, body, spacing_mm)
    return None if noise is None else calibration.estimate(noise)
