"""A scan -> what it would be without noise, and how far that can be trusted: the mean of mirrored samples.

The network is evaluated at the noisiest timestep, where all it knows is the scan: N times, each with its own noise and
its own mirror image of the scan. Stops further down the path of a diffusion would add nothing to a mean
(docs/benchmark.md, the ablation); they are for drawing.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch

from MAPDiffLib.model.diffusion import Diffusion
from MAPDiffLib.restoration.intensity import Intensity
from MAPDiffLib.restoration.progress import Progress
from MAPDiffLib.restoration.tiles import TiledNetwork

# Mirrored axes of sample 0, 1, 2, ...: [z, y, x] tensors, left-right first because bodies nearly have that symmetry.
MIRRORS = ((), (2,), (1,), (1, 2), (0,), (0, 2), (0, 1), (0, 1, 2))


class ScanDenoiser:
    """A network that sees one scan, as a denoiser of diffusion.py: x0_hat = denoise(x_t, t), float32 [z, y, x] in
    network units. Each call sees the next mirror image; in the air x0_hat is the scan. Raises Cancelled."""

    def __init__(
        self,
        network: TiledNetwork,
        diffusion: Diffusion,
        condition: torch.Tensor,
        noise: Sequence[float],
        progress: Progress | None = None,
        cancelled: Callable[[], bool] = lambda: False,
    ):
        """condition: the scan in network units where the network has its volumes; noise: as it is told."""
        self.network, self.diffusion, self.condition, self.noise = network, diffusion, condition, noise
        self.progress = progress or Progress(lambda event: None, 1, "")
        self.cancelled, self.mirrors = cancelled, itertools.cycle(MIRRORS)

    def __call__(self, x_t: torch.Tensor, t: int) -> torch.Tensor:
        axes = next(self.mirrors)
        output = self.network(
            x_t.flip(axes), self.condition.flip(axes), t / self.diffusion.timesteps, self.noise,
            on_share=self.progress.evaluating, cancelled=self.cancelled, mirrored=axes,
        ).flip(axes)  # fmt: skip
        self.progress.evaluated()
        return torch.where(self.network.body, self.diffusion.x0_from(output, x_t, t), self.condition)


def mean_of_samples(
    denoise: ScanDenoiser, intensity: Intensity, samples: int, seed: int
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """(the noise-free estimate, the samples' standard deviation; None for one) of a scan, in its units, [z, y, x]."""
    scan, diffusion = denoise.condition, denoise.diffusion
    t = diffusion.timesteps - 1
    with ThreadPoolExecutor() as pool:  # a generator draws on one core, and a whole body is 50 million numbers
        noises = list(pool.map(lambda number: draw_noise(scan.shape, seed, number), range(samples)))
    total, squares = torch.zeros_like(scan), torch.zeros_like(scan)
    while noises:
        x_t = diffusion.noised(scan, t, noises.pop(0).to(scan.device))
        activity = intensity.to_physical(denoise(x_t, t))
        total += activity  # in the scan's units: a mean of logarithms would lose activity
        squares += (activity / intensity.scale).square()
    mean = total / samples
    return mean, _deviation(squares, mean / intensity.scale, samples, intensity.scale)


def draw_noise(shape: Sequence[int], seed: int, number: int) -> torch.Tensor:
    """Unit Gaussian noise of sample `number`, float32, on the CPU: the same on every device and for every tiling."""
    return torch.randn(tuple(shape), generator=generator_of(seed, number))


def generator_of(seed: int, number: int) -> torch.Generator:
    """On the CPU, for draw `number` of a restoration's seed."""
    return torch.Generator().manual_seed((seed * 1009 + number) % 2**63)


def _deviation(squares, mean, samples: int, scale: float) -> torch.Tensor | None:
    if samples == 1:
        return None
    variance = (squares / samples - mean.square()).clamp(min=0) * (samples / (samples - 1))
    return variance.sqrt() * scale
