"""Several samples of one scan in step: at each timestep the mean of their x0_hat and how far they spread.

Each sample has its own noise, drawn once for the whole volume, and looks at its own mirror image of the scan; their
mean is what a restoration is made of (a single sample re-draws noise that the mean averages out).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch

from MAPDiffLib.diffusion import Diffusion, deterministic_sampler
from MAPDiffLib.intensity import Intensity
from MAPDiffLib.tiles import TiledNetwork

# Mirrored axes of sample 0, 1, 2, ...: [z, y, x] tensors, left-right first because bodies nearly have that symmetry.
MIRRORS = ((), (2,), (1,), (1, 2), (0,), (0, 2), (0, 1), (0, 1, 2))


@dataclass(frozen=True)
class Evaluation:
    """The samples at one timestep: mean and standard deviation of x0_hat in the scan's units, float32 [z, y, x]; they
    lie where the network has its volumes."""

    t: int
    mean: torch.Tensor
    spread: torch.Tensor | None


def sample_means(
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
    share = 1 / (len(timesteps) * samples)

    def sampler(number: int, noise: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
        axes = MIRRORS[number % len(MIRRORS)]

        def denoise(x_t: torch.Tensor, t: int) -> torch.Tensor:
            output = network(
                x_t.flip(axes), condition.flip(axes), t / diffusion.timesteps, dose,
                on_tile=lambda part: on_progress(part * share), cancelled=cancelled, mirrored=axes,
            ).flip(axes)  # fmt: skip
            x0_hat = diffusion.x0_from(output, x_t, t)
            return torch.where(network.body, x0_hat, condition)

        state = diffusion.noised(condition, timesteps[0], noise.to(scan.device))
        return deterministic_sampler(diffusion, denoise, state, timesteps)

    with ThreadPoolExecutor() as pool:  # a generator draws on one core, and a whole body is 50 million numbers
        noises = pool.map(lambda number: draw_noise(scan.shape, seed, number), range(samples))
        samplers = [sampler(number, noise) for number, noise in enumerate(noises)]
    for t in timesteps:
        total = torch.zeros_like(scan)
        squares = torch.zeros_like(scan) if samples > 1 else None
        for one in samplers:
            activity = intensity.to_physical(next(one)[1])
            total += activity
            if squares is not None:
                squares += (activity / intensity.scale).square()
        mean = total / samples
        yield Evaluation(t, mean, _deviation(squares, mean / intensity.scale, samples, intensity.scale))


def draw_noise(shape: Sequence[int], seed: int, number: int) -> torch.Tensor:
    """Unit Gaussian noise of sample `number`, float32, on the CPU: the same on every device and for every tiling."""
    generator = torch.Generator().manual_seed((seed * 1009 + number) % 2**63)
    return torch.randn(tuple(shape), generator=generator)


def _deviation(squares, mean, samples: int, scale: float) -> torch.Tensor | None:
    if squares is None:
        return None
    variance = (squares / samples - mean.square()).clamp(min=0) * (samples / (samples - 1))
    return variance.sqrt() * scale
