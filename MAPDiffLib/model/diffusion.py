"""The diffusion process: schedule, forward marginal, prediction types and samplers.

Knows no network: a denoiser is any callable `x0_hat = denoise(x_t, t)` on tensors of any shape, t an int in [0, T).
Notation of Ho et al. 2020 (arXiv 2006.11239): x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

SCHEDULES = ("cosine", "linear")
PREDICTIONS = ("x0", "v", "eps")
Denoiser = Callable[[torch.Tensor, int], torch.Tensor]
Step = Callable[[torch.Tensor, torch.Tensor, int, int], torch.Tensor]  # x at t_next of (x_t, x0_hat, t, t_next)


@dataclass(frozen=True)
class Diffusion:
    """T timesteps, a noise schedule and what the network predicts. ValueError for an unknown choice."""

    timesteps: int = 1000
    schedule: str = "cosine"
    prediction: str = "x0"

    def __post_init__(self):
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule is {self.schedule!r}; one of {SCHEDULES} is needed")
        if self.prediction not in PREDICTIONS:
            raise ValueError(f"prediction is {self.prediction!r}; one of {PREDICTIONS} is needed")
        if not 2 <= self.timesteps <= 100_000:
            raise ValueError(f"timesteps is {self.timesteps}; 2 to 100000 are needed")

    @cached_property
    def alpha_bar(self) -> torch.Tensor:
        """alpha_bar_t for t = 0 .. T-1, float64 [T], strictly falling."""
        if self.schedule == "linear":  # Ho et al. 2020, section 4, stretched to T steps
            betas = torch.linspace(1e-4, 0.02, self.timesteps, dtype=torch.float64) * (1000 / self.timesteps)
        else:  # Nichol and Dhariwal 2021 (arXiv 2102.09672), eq. 17, betas clipped at 0.999 as there
            steps = torch.arange(self.timesteps + 1, dtype=torch.float64) / self.timesteps
            curve = torch.cos((steps + 0.008) / 1.008 * math.pi / 2) ** 2
            betas = 1 - curve[1:] / curve[:-1]
        return torch.cumprod(1 - betas.clamp(max=0.999), dim=0)

    def signal_and_noise(self, t: torch.Tensor | int) -> tuple[torch.Tensor, torch.Tensor]:
        """(sqrt(alpha_bar_t), sqrt(1 - alpha_bar_t)) as float32, of the shape of `t`."""
        alpha_bar = self.alpha_bar[t]
        return alpha_bar.sqrt().float(), (1 - alpha_bar).sqrt().float()

    def noised(self, x0: torch.Tensor, t: torch.Tensor | int, noise: torch.Tensor) -> torch.Tensor:
        """The forward marginal: x_t for x_0, either one t for all or one per item of the first axis."""
        signal, sigma = (_per_item(value, x0) for value in self.signal_and_noise(t))
        return signal * x0 + sigma * noise

    def x0_from(self, output: torch.Tensor, x_t: torch.Tensor, t: torch.Tensor | int) -> torch.Tensor:
        """x0_hat from the network's output of this prediction type (v: Salimans and Ho 2022, arXiv 2202.00512)."""
        if self.prediction == "x0":
            return output
        signal, sigma = (_per_item(value, x_t) for value in self.signal_and_noise(t))
        if self.prediction == "v":
            return signal * x_t - sigma * output
        return (x_t - sigma * output) / signal

    def target(self, x0: torch.Tensor, noise: torch.Tensor, t: torch.Tensor | int) -> torch.Tensor:
        """What the network should output for x_t = noised(x0, t, noise)."""
        if self.prediction == "x0":
            return x0
        if self.prediction == "eps":
            return noise
        signal, sigma = (_per_item(value, x0) for value in self.signal_and_noise(t))
        return signal * noise - sigma * x0

    def step(
        self, x_t: torch.Tensor, x0_hat: torch.Tensor, t: torch.Tensor | int, t_next: torch.Tensor | int
    ) -> torch.Tensor:
        """x at t_next < t, the noise that x0_hat implies kept: DDIM, eta = 0 (arXiv 2010.02502, eq. 12)."""
        signal, sigma = (_per_item(value, x_t) for value in self.signal_and_noise(t))
        next_signal, next_sigma = (_per_item(value, x_t) for value in self.signal_and_noise(t_next))
        return next_signal * x0_hat + (next_sigma / sigma) * (x_t - signal * x0_hat)


def _per_item(value: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Shape a scalar or a [batch] vector so that it broadcasts over `like`."""
    value = value.to(like.device, like.dtype)
    return value if value.ndim == 0 else value.reshape(-1, *[1] * (like.ndim - 1))


def deterministic_sampler(
    diffusion: Diffusion, denoise: Denoiser, x_t: torch.Tensor, timesteps: Sequence[int]
) -> Iterator[tuple[int, torch.Tensor]]:
    """Deterministic sampling, Diffusion.step after Diffusion.step: yields (t, x0_hat) at each of `timesteps`.

    `timesteps` fall strictly; `x_t` is the state at the first of them, pure noise or a noised scan.
    """
    return _descend(diffusion, denoise, x_t, timesteps, diffusion.step)


def ancestral_sampler(
    diffusion: Diffusion, denoise: Denoiser, x_t: torch.Tensor, timesteps: Sequence[int], generator: torch.Generator
) -> Iterator[tuple[int, torch.Tensor]]:
    """DDPM's stochastic reverse process (Ho et al. 2020, eq. 7) over `timesteps`: yields (t, x0_hat) at each.

    All of T-1 ... 0 is the paper's 1000-step sampling; on a coarser grid the posterior between its neighbours is used.
    """

    def step(x_t: torch.Tensor, x0_hat: torch.Tensor, t: int, t_next: int) -> torch.Tensor:
        now, following = diffusion.alpha_bar[t], diffusion.alpha_bar[t_next]
        alpha = now / following
        mean_x0 = (following.sqrt() * (1 - alpha) / (1 - now)).float()
        mean_xt = (alpha.sqrt() * (1 - following) / (1 - now)).float()
        deviation = ((1 - following) / (1 - now) * (1 - alpha)).sqrt().float()
        fresh = torch.randn(x_t.shape, generator=generator, dtype=x_t.dtype).to(x_t.device)
        return mean_x0 * x0_hat + mean_xt * x_t + deviation * fresh

    return _descend(diffusion, denoise, x_t, timesteps, step)


def _descend(
    diffusion: Diffusion, denoise: Denoiser, x_t: torch.Tensor, timesteps: Sequence[int], step: Step
) -> Iterator[tuple[int, torch.Tensor]]:
    total, falling = diffusion.timesteps, all(a > b for a, b in zip(timesteps, timesteps[1:], strict=False))
    if not timesteps or not falling or timesteps[0] >= total or timesteps[-1] < 0:
        raise ValueError(f"timesteps are {list(timesteps)}; they must fall strictly within [0, {total - 1}]")
    for t, t_next in zip(timesteps, [*timesteps[1:], None], strict=True):
        x0_hat = denoise(x_t, t)
        yield t, x0_hat
        if t_next is not None:
            x_t = step(x_t, x0_hat, t, t_next)
