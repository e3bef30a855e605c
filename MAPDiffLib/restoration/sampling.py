"""A scan down the timesteps of its path: at each the network's x0_hat, and how far it can be trusted.

The first evaluation sees pure noise beside the scan: it is made N times, each with its own noise and its own mirror
image of the scan, and the path goes on from their mean. N whole paths cost N times as much and end in the same place to
the fourth digit of NMAE, because the noise of a low timestep hardly moves x0_hat (docs/benchmark.md, the ablation).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch

from MAPDiffLib.model.diffusion import Diffusion, deterministic_sampler
from MAPDiffLib.restoration.intensity import Intensity
from MAPDiffLib.restoration.progress import Progress
from MAPDiffLib.restoration.tiles import TiledNetwork

# Mirrored axes of sample 0, 1, 2, ...: [z, y, x] tensors, left-right first because bodies nearly have that symmetry.
MIRRORS = ((), (2,), (1,), (1, 2), (0,), (0, 2), (0, 1), (0, 1, 2))


def evaluations_of(timesteps: Sequence[int], samples: int) -> int:
    """How often the network is evaluated along a path."""
    return samples + len(timesteps) - 1


class ScanDenoiser:
    """A network that sees one scan, as a denoiser of diffusion.py: x0_hat = denoise(x_t, t), float32 [z, y, x] in
    network units. Each call sees the next mirror image; in the air x0_hat is the scan. Raises Cancelled."""

    def __init__(
        self,
        network: TiledNetwork,
        diffusion: Diffusion,
        condition: torch.Tensor,
        dose: float,
        progress: Progress | None = None,
        cancelled: Callable[[], bool] = lambda: False,
    ):
        """condition: the scan in network units where the network has its volumes; dose: what the network is told."""
        self.network, self.diffusion, self.condition, self.dose = network, diffusion, condition, dose
        self.progress = progress or Progress(lambda event: None, 1, "")
        self.cancelled, self.mirrors = cancelled, itertools.cycle(MIRRORS)

    def __call__(self, x_t: torch.Tensor, t: int) -> torch.Tensor:
        axes = next(self.mirrors)
        output = self.network(
            x_t.flip(axes), self.condition.flip(axes), t / self.diffusion.timesteps, self.dose,
            on_share=self.progress.evaluating, cancelled=self.cancelled, mirrored=axes,
        ).flip(axes)  # fmt: skip
        self.progress.evaluated()
        return torch.where(self.network.body, self.diffusion.x0_from(output, x_t, t), self.condition)


@dataclass(frozen=True)
class FirstEstimate:
    """The mean of the samples at timestep t: `x0_hat` in network units, and the `state` that the path goes on from;
    `spread`: the samples' standard deviation in the scan's units, None for one sample. All [z, y, x]."""

    t: int
    state: torch.Tensor
    x0_hat: torch.Tensor
    spread: torch.Tensor | None


def first_estimate(denoise: ScanDenoiser, intensity: Intensity, t: int, samples: int, seed: int) -> FirstEstimate:
    """`samples` evaluations at timestep t, each of the scan noised to it with its own noise."""
    scan, diffusion = denoise.condition, denoise.diffusion
    with ThreadPoolExecutor() as pool:  # a generator draws on one core, and a whole body is 50 million numbers
        noises = list(pool.map(lambda number: draw_noise(scan.shape, seed, number), range(samples)))
    state = diffusion.noised(scan, t, noises[0].to(scan.device))
    total, squares = torch.zeros_like(scan), torch.zeros_like(scan)
    while noises:
        x_t = diffusion.noised(scan, t, noises.pop(0).to(scan.device))
        activity = intensity.to_physical(denoise(x_t, t))
        total += activity  # in the scan's units: a mean of logarithms would lose activity
        squares += (activity / intensity.scale).square()
    spread = _deviation(squares, total / samples / intensity.scale, samples, intensity.scale)
    return FirstEstimate(t, state, intensity.to_network(total / samples), spread)


def descend(
    denoise: ScanDenoiser, first: FirstEstimate, timesteps: Sequence[int]
) -> Iterator[tuple[int, torch.Tensor]]:
    """Deterministic sampling from the first estimate down `timesteps`, of which its own is the first: yields
    (t, x0_hat in network units) at each."""
    assert first.t == timesteps[0], f"the first estimate is of {first.t}, the path begins at {timesteps[0]}"
    yield first.t, first.x0_hat
    if len(timesteps) > 1:
        state = denoise.diffusion.step(first.state, first.x0_hat, first.t, timesteps[1])
        yield from deterministic_sampler(denoise.diffusion, denoise, state, timesteps[1:])


def draw_noise(shape: Sequence[int], seed: int, number: int) -> torch.Tensor:
    """Unit Gaussian noise of sample `number`, float32, on the CPU: the same on every device and for every tiling."""
    generator = torch.Generator().manual_seed((seed * 1009 + number) % 2**63)
    return torch.randn(tuple(shape), generator=generator)


def _deviation(squares, mean, samples: int, scale: float) -> torch.Tensor | None:
    if samples == 1:
        return None
    variance = (squares / samples - mean.square()).clamp(min=0) * (samples / (samples - 1))
    return variance.sqrt() * scale
