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
from MAPDiffLib.restoration.tiles import TiledNetwork

# Mirrored axes of sample 0, 1, 2, ...: [z, y, x] tensors, left-right first because bodies nearly have that symmetry.
MIRRORS = ((), (2,), (1,), (1, 2), (0,), (0, 2), (0, 1), (0, 1, 2))


@dataclass(frozen=True)
class Evaluation:
    """x0_hat at one timestep and the standard deviation of the samples of the first (None for one sample), both in the
    scan's units, float32 [z, y, x]; they lie where the network has its volumes."""

    t: int
    x0_hat: torch.Tensor
    spread: torch.Tensor | None


def evaluations_of(timesteps: Sequence[int], samples: int) -> int:
    """How often the network is evaluated along a path."""
    return samples + len(timesteps) - 1


def evaluate_path(
    network: TiledNetwork,
    diffusion: Diffusion,
    scan: torch.Tensor,
    intensity: Intensity,
    dose: float,
    timesteps: Sequence[int],
    samples: int,
    seed: int,
    on_progress: Callable[[float], None] = lambda share: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[Evaluation]:
    """Deterministic sampling of a scan (float32 [z, y, x], its own units) of a known dose along `timesteps`.

    Starts from noise; where timesteps[0] is the calibrated tau of the scan's own dose, from the scan noised to it.
    `on_progress` gets the share of all the work that was just done. Raises Cancelled.
    """
    scan = scan.to(network.home)
    condition = intensity.to_network(scan)
    share = 1 / evaluations_of(timesteps, samples)
    mirrors = itertools.cycle(MIRRORS)

    def evaluate(x_t: torch.Tensor, t: int) -> torch.Tensor:
        axes = next(mirrors)
        output = network(
            x_t.flip(axes), condition.flip(axes), t / diffusion.timesteps, dose,
            on_tile=lambda part: on_progress(part * share), cancelled=cancelled, mirrored=axes,
        ).flip(axes)  # fmt: skip
        return torch.where(network.body, diffusion.x0_from(output, x_t, t), condition)

    with ThreadPoolExecutor() as pool:  # a generator draws on one core, and a whole body is 50 million numbers
        noises = list(pool.map(lambda number: draw_noise(scan.shape, seed, number), range(samples)))
    start = diffusion.noised(condition, timesteps[0], noises[0].to(scan.device))
    total, squares = torch.zeros_like(scan), torch.zeros_like(scan)
    while noises:
        x_t = diffusion.noised(condition, timesteps[0], noises.pop(0).to(scan.device))
        activity = intensity.to_physical(evaluate(x_t, timesteps[0]))
        total += activity  # in the scan's units: a mean of logarithms would lose activity
        squares += (activity / intensity.scale).square()
    first = intensity.to_network(total / samples)
    spread = _deviation(squares, total / samples / intensity.scale, samples, intensity.scale)
    del total, squares

    def denoise(x_t: torch.Tensor, t: int) -> torch.Tensor:
        return first if t == timesteps[0] else evaluate(x_t, t)

    for t, x0_hat in deterministic_sampler(diffusion, denoise, start, timesteps):
        yield Evaluation(t, intensity.to_physical(x0_hat), spread)


def draw_noise(shape: Sequence[int], seed: int, number: int) -> torch.Tensor:
    """Unit Gaussian noise of sample `number`, float32, on the CPU: the same on every device and for every tiling."""
    generator = torch.Generator().manual_seed((seed * 1009 + number) % 2**63)
    return torch.randn(tuple(shape), generator=generator)


def _deviation(squares, mean, samples: int, scale: float) -> torch.Tensor | None:
    if samples == 1:
        return None
    variance = (squares / samples - mean.square()).clamp(min=0) * (samples / (samples - 1))
    return variance.sqrt() * scale
