"""Doses as scans: the counts that a scan has, and drawn ones up to each higher dose.

A restored dose is a mean: it has less noise than any scan of that dose. A scan of dose d is that of a lower dose d' and
an independent one of d - d': x_d = (d'/d) x_d' + (1 - d'/d) draw. So each scan holds the one below it, and all the
input. A draw is log-normal around the restored full dose (iterative reconstructions are: Barrett et al. 1994), with
the scan's own local noise and the spectrum of what the restoration took away, but random phases: a shape that was left
in that residual has none of its phases here, so that nothing of one organ is seen in another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from scipy.fft import next_fast_len

from MAPDiffLib.model.fidelity import Fidelity
from MAPDiffLib.restoration.local_noise import CLIP, noise_deviation, smooth_activity
from MAPDiffLib.restoration.sampling import draw_noise

FIRST_NUMBER = 100  # of the noise: the sampler's come before


@dataclass(frozen=True)
class NoiseTexture:
    """The noise of a scan: its `relative` deviation [z, y, x], and the moduli of its spectrum on a grid of `shape`.

    gain, kept: of its variance in drawn counts, and in the restored image (model/fidelity.py).
    """

    relative: torch.Tensor
    spectrum: torch.Tensor
    shape: tuple[int, int, int]
    gain: float = 1.0
    kept: float = 0.0

    @classmethod
    def of(
        cls,
        scan: torch.Tensor,
        restored: torch.Tensor,
        body: torch.Tensor,
        spacing_mm: Sequence[float],
        fidelity: Fidelity = Fidelity(),  # noqa: B008  (frozen)
    ) -> NoiseTexture:
        """Of what a restoration took away; images [z, y, x] in one unit, spacing (x, y, z)."""
        level = float((restored * body).sum(dtype=torch.float64) / body.sum())
        activity = smooth_activity(restored, body, spacing_mm)
        residual = ((scan - restored) / level).mul_(body)
        deviation = noise_deviation(residual, activity, body, spacing_mm)
        even = (residual / deviation).clamp_(-CLIP, CLIP)  # what lies beyond is no noise
        shape = tuple(next_fast_len(n, real=True) for n in scan.shape)
        spectrum = torch.fft.rfftn(even, s=shape).abs()
        return cls(deviation / activity, spectrum, shape, fidelity.drawn_gain, fidelity.drawn_kept)

    def draw(self, seed: int, number: int) -> torch.Tensor:
        """Noise of unit deviation [z, y, x] with this spectrum; drawn on the CPU, the same on every device."""
        white = torch.fft.rfftn(draw_noise(self.shape, seed, number).to(self.spectrum.device))
        noise = torch.fft.irfftn(white.div_(white.abs().clamp_(min=1e-12)).mul_(self.spectrum), s=self.shape)
        noise = noise / noise.std()
        return noise[tuple(slice(0, n) for n in self.relative.shape)]

    def variance(self, input_dose: float, lower: float, dose: float) -> float:
        """Of the draw between two doses, in units of the scan's own.

        Variances go with 1 / dose, so all draws up to d make up (d - d0) d0 of d^2, for an input of d0. What the
        restored image, which is (d - d0) of d, still holds of the scan's noise they need not.
        """
        total = [(d - input_dose) * (self.gain * input_dose - self.kept * (d - input_dose)) for d in (lower, dose)]
        return max(0.0, total[1] - total[0]) / (dose - lower) ** 2


def dose_scans(
    scan: torch.Tensor,
    restored: torch.Tensor,
    body: torch.Tensor,
    texture: NoiseTexture,
    input_dose: float,
    doses: Sequence[float],
    seed: int,
) -> Iterator[tuple[float, torch.Tensor]]:
    """(dose, scan of that dose) for each of `doses`, ascending, all above the input's; float32 [z, y, x].

    restored: full dose, in the scan's unit. Nested; the same seed and doses give the same scans. Outside the body it is
    the scan itself.
    """
    mean, lower, image = restored.clamp(min=0), input_dose, scan
    for number, dose in enumerate(sorted(doses)):
        variance = texture.relative.square().mul_(texture.variance(input_dose, lower, dose)).log1p_()
        draw = texture.draw(seed, FIRST_NUMBER + number).mul_(variance.sqrt()).sub_(variance / 2).exp_().mul_(mean)
        image = torch.where(body, torch.lerp(draw, image, lower / dose), scan)
        yield dose, image
        lower = dose
