"""Doses as scans: the counts that a scan has, and drawn ones up to each higher dose.

A restored dose is a mean: it has less noise than any scan of that dose. A scan of dose d is that of a lower dose d' and
an independent one of d - d': x_d = (d'/d) x_d' + (1 - d'/d) draw. So each scan holds the one below it, and all the
input. A draw is log-normal around the restored full dose (iterative reconstructions are: Barrett et al. 1994), with
the scan's own local noise and the spectrum of what the restoration took away, but random phases: a shape that was left
in that residual has none of its phases here, so that nothing of one organ is seen in another.

What is drawn around is not the restored image itself: of its detail a share was lost with the noise, and some detail of
that size is drawn into it first, one for all doses.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import pi, prod

import torch
from scipy.fft import next_fast_len

from MAPDiffLib.model.fidelity import DRAWN_PER_MM, Fidelity
from MAPDiffLib.restoration.local_noise import CLIP, COLD, gaussian_mean, noise_deviation, smooth_activity
from MAPDiffLib.restoration.sampling import generator_of

FIRST_NUMBER = 100  # of the noise: the sampler's come before
DETAIL_NUMBER = FIRST_NUMBER - 1  # of the noise that is made detail
DETAIL_MM = 8.0  # FWHM of the means that detail is finer than
LEAST_DETAIL, MOST_DETAIL = 0.04, 0.2  # as a share of them: below is what is left of noise, beyond is an edge


@dataclass(frozen=True)
class NoiseTexture:
    """The noise of a scan: its `relative` deviation [z, y, x], the moduli of its spectrum on a grid of `shape`, as of
    noise of unit deviation, and the grid's spacing (x, y, z).

    gain, kept: of its variance in drawn counts, and in the restored image, at each of DRAWN_PER_MM; typical: the
    median of `relative` in the body (model/fidelity.py). detail: how much is drawn for lost detail, over what the
    restored image has; cold: the least activity that detail is counted over, in the image's unit.
    """

    relative: torch.Tensor
    spectrum: torch.Tensor
    shape: tuple[int, int, int]
    spacing_mm: Sequence[float]
    gain: Sequence[float]
    kept: Sequence[float]
    typical: float
    detail: float
    cold: float

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
        even /= max(float(even.square().sum(dtype=torch.float64) / prod(shape)) ** 0.5, 1e-6)
        spectrum = torch.fft.rfftn(even, s=shape).abs()
        relative = deviation / activity
        typical = float(relative[body].median())
        kept = [share / typical for share in fidelity.drawn_kept]
        detail, cold = fidelity.drawn_detail, COLD * level
        return cls(relative, spectrum, shape, spacing_mm, fidelity.drawn_gain, kept, typical, detail, cold)

    def draw(self, variances: Sequence[float], seed: int, number: int) -> torch.Tensor:
        """Noise [z, y, x] with this spectrum, its variance multiplied by one of `variances` at each of DRAWN_PER_MM;
        drawn on the CPU, the same on every device."""
        moduli = self._radial(variances).sqrt_().mul_(self.spectrum)
        # Frequencies that are their own conjugates along x keep a phase's real part alone: on average half the power.
        moduli[..., 0] *= 2**0.5
        if self.shape[2] % 2 == 0:
            moduli[..., -1] *= 2**0.5
        phases = draw_phases(moduli.shape, seed, number).to(moduli.device)
        noise = torch.fft.irfftn(torch.polar(moduli, phases), s=self.shape)
        return noise[tuple(slice(0, n) for n in self.relative.shape)].contiguous()  # else all that follows is slower

    def around(self, restored: torch.Tensor, seed: int) -> torch.Tensor:
        """What scans are drawn around: the restored image [z, y, x] with some detail in place of what was lost."""
        noise = self.draw((1.0,) * len(DRAWN_PER_MM), seed, DETAIL_NUMBER)
        lost = relative_detail(restored, self.cold, self.spacing_mm).mul_(self.detail / float(noise.std()))
        return _log_normal(restored.clamp(min=0), noise, lost)

    def _radial(self, values: Sequence[float]) -> torch.Tensor:
        """Values at DRAWN_PER_MM as a function of frequency on the grid of the spectrum."""
        line = torch.full_like(self._frequencies, values[0])
        for (low, at_low), (high, at_high) in pairwise(zip(DRAWN_PER_MM, values, strict=True)):
            line += ((self._frequencies - low) / (high - low)).clamp_(0, 1).mul_(at_high - at_low)
        return line.clamp_(min=0)

    @cached_property
    def _frequencies(self) -> torch.Tensor:
        """Per mm, on the grid of the spectrum: alike for every draw."""
        z, y = (torch.fft.fftfreq(n, s) for n, s in zip(self.shape[:2], self.spacing_mm[:0:-1], strict=True))
        x = torch.fft.rfftfreq(self.shape[2], self.spacing_mm[0])
        return ((z[:, None, None] ** 2 + y[:, None] ** 2) + x**2).to(self.spectrum.device).sqrt_()


def drawn_variances(
    gains: Sequence[float], kept: Sequence[float], input_dose: float, lower: float, dose: float
) -> list[float]:
    """Of the draw between two doses, in units of the scan's own, for each gain and what is kept (NoiseTexture).

    Variances go with 1 / dose, so all draws up to d make up (d - d0) d0 of d^2, for an input of d0. What the restored
    image, which is (d - d0) of d, still holds of the scan's noise they need not.
    """

    def all_up_to(d: float, gain: float, share: float) -> float:
        return (d - input_dose) * (gain * input_dose - share * (d - input_dose))

    steps = [all_up_to(dose, *own) - all_up_to(lower, *own) for own in zip(gains, kept, strict=True)]
    return [max(0.0, step) / (dose - lower) ** 2 for step in steps]


def relative_detail(image: torch.Tensor, cold: float, spacing_mm: Sequence[float]) -> torch.Tensor:
    """How large what is finer than DETAIL_MM is in an image [z, y, x] beyond LEAST_DETAIL, over its mean there, which
    counts as no less than `cold`."""
    mean = gaussian_mean(image, DETAIL_MM, spacing_mm)
    squares = gaussian_mean((image - mean).square_(), DETAIL_MM, spacing_mm)
    relative = squares.div_(mean.clamp_(min=cold).square_()).sub_(LEAST_DETAIL**2)
    return relative.clamp_(0, MOST_DETAIL**2).sqrt_()


def draw_phases(shape: Sequence[int], seed: int, number: int) -> torch.Tensor:
    """Phases in [0, 2 pi), float32, on the CPU: the same on every device."""
    return torch.rand(tuple(shape), generator=generator_of(seed, number)).mul_(2 * pi)


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
    mean, lower, image = texture.around(restored, seed), input_dose, scan
    for number, dose in enumerate(sorted(doses)):
        variances = drawn_variances(texture.gain, texture.kept, input_dose, lower, dose)
        noise = texture.draw(variances, seed, FIRST_NUMBER + number)
        image = torch.where(body, torch.lerp(_log_normal(mean, noise, texture.relative), image, lower / dose), scan)
        yield dose, image
        lower = dose


def _log_normal(mean: torch.Tensor, noise: torch.Tensor, relative: torch.Tensor) -> torch.Tensor:
    """`mean`, times what has a mean of 1 and `relative` times the deviation of `noise`, which it uses up; [z, y, x]."""
    overall = float(noise.var())
    variance = relative.square().mul_(overall).log1p_()
    return noise.mul_((variance / max(overall, 1e-12)).sqrt_()).sub_(variance.div_(2)).exp_().mul_(mean)
