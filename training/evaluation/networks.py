"""Methods of the table that run a network: a bundle as its users run it, a trained baseline, a training run."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

from MAPDiffLib.errors import InputError
from MAPDiffLib.job import RestoreOptions
from MAPDiffLib.model.bundle import Bundle, load_bundle
from MAPDiffLib.model.diffusion import Diffusion, ancestral_sampler, deterministic_sampler
from MAPDiffLib.restoration.device import choose_compute
from MAPDiffLib.restoration.doses import ANCHOR_DOSES, at_dose
from MAPDiffLib.restoration.intensity import Intensity
from MAPDiffLib.restoration.noise import UNKNOWN_NOISE, measure_noise
from MAPDiffLib.restoration.restore import restore
from MAPDiffLib.restoration.sampling import MIRRORS, draw_noise
from MAPDiffLib.restoration.tiles import TiledNetwork
from MAPDiffLib.restoration.working_grid import WorkingGrid
from MAPDiffLib.scan.geometry import bounding_box
from MAPDiffLib.scan.volume import Volume, body_mask
from training.baselines.saved import FACTS, load_baseline
from training.evaluation.method import Result
from training.run_folder import CHECKPOINT
from training.scores.doses import with_mixes

# Network units: no activity, and about SUV 240. Beyond them no body lies.
LOWEST, HIGHEST = -4.0, 12.5


@dataclass(frozen=True)
class Bundled:
    """A bundle with its own sampling and guard, at every usual dose above the scan's own."""

    folder: Path
    samples: int | None = None
    strength: float | None = None
    device: str = "auto"
    precision: str = "auto"

    def __call__(self, scan: Volume, dose: float) -> Result:
        doses = tuple(d for d in ANCHOR_DOSES if d > dose)
        options = RestoreOptions(
            doses=doses, input_dose=dose, samples=self.samples, strength=self.strength, device=self.device,
            precision=self.precision,
        )  # fmt: skip
        restoration = restore(scan, _bundle(self.folder), options)
        images = {restored.dose: restored.volume.voxels for restored in restoration}
        spread = None if restoration.uncertainty is None else restoration.uncertainty.voxels
        return Result(images, spread, restoration.report["sampling"]["samples"])


@dataclass(frozen=True)
class Sampled:
    """A network by itself, with neither fitted weights nor a guard: the mean of `samples` mirrored samples.

    folder: of a baseline (`mapdiff-train baseline`, one step) or of a run (`mapdiff-train train`). It works on the grid
    that a restoration works on. Each sample is evaluated `steps` times from timestep `start` (None: the noisiest) down,
    or at `timesteps`. stochastic: DDPM's sampler, else DDIM. The doses between scan and full dose are the
    inverse-dose interpolation of both.
    """

    folder: Path
    steps: int = 1
    samples: int = 1
    start: int | None = None
    timesteps: tuple[int, ...] = ()
    stochastic: bool = False
    device: str = "auto"
    precision: str = "auto"

    def __call__(self, scan: Volume, dose: float) -> Result:
        network, diffusion, tile = _network(self.folder)
        body = body_mask(scan.voxels, scan.spacing_mm)
        noise = measure_noise(scan.voxels, body, scan.spacing_mm) or UNKNOWN_NOISE
        box = bounding_box(body)
        cropped, inside = scan.voxels[box], body[box]
        grid = WorkingGrid.of(cropped.shape, scan.spacing_mm, noise, network.config.stride)
        compute = choose_compute(self.device, self.precision)
        tiled = TiledNetwork(network, grid.mask_to_working(torch.from_numpy(inside)), compute, tile)
        intensity = Intensity.of_scan(scan.voxels, body)
        condition = intensity.to_network(grid.to_working(torch.from_numpy(cropped)).to(tiled.volume_device))
        told = noise.in_voxels(grid.spacing_mm(scan.spacing_mm))
        total = sum(
            intensity.to_physical(self._sample(number, tiled, diffusion, condition, told))
            for number in range(self.samples)
        )
        full, mean = scan.voxels.copy(), grid.from_working((total / self.samples).cpu()).numpy()
        full[box][inside] = at_dose(cropped, mean, dose, 1.0)[inside]
        return Result(with_mixes(scan.voxels, dose, full), None, len(self.path(diffusion.timesteps)) * self.samples)

    def path(self, total: int) -> list[int]:
        """The timesteps of one sample, of a diffusion with `total` of them."""
        start = total - 1 if self.start is None else self.start
        return list(self.timesteps) or falling_steps(start + 1, self.steps)

    def _sample(self, number: int, tiled: TiledNetwork, diffusion: Diffusion, condition: torch.Tensor, told: tuple):
        """The last x0_hat of sample `number`, network units [z, y, x]."""
        axes = MIRRORS[number % len(MIRRORS)]

        def denoise(x_t: torch.Tensor, t: int) -> torch.Tensor:
            share = t / diffusion.timesteps
            output = tiled(x_t.flip(axes), condition.flip(axes), share, told, mirrored=axes).flip(axes)
            # Clipped as DDPM clips it: where eps is predicted, x0_hat explodes at the noisiest timesteps.
            x0_hat = diffusion.x0_from(output, x_t, t).clamp(LOWEST, HIGHEST)
            return torch.where(tiled.body, x0_hat, condition)

        timesteps = self.path(diffusion.timesteps)
        noise = draw_noise(condition.shape, seed=0, number=number).to(tiled.volume_device)
        state = diffusion.noised(condition, timesteps[0], noise)
        if self.stochastic:
            generator = torch.Generator().manual_seed(number)
            states = ancestral_sampler(diffusion, denoise, state, timesteps, generator)
        else:
            states = deterministic_sampler(diffusion, denoise, state, timesteps)
        _, x0_hat = deque(states, maxlen=1).pop()  # one at a time: a thousand of a whole body are 16 GB
        return x0_hat


def falling_steps(timesteps: int, steps: int) -> list[int]:
    """`steps` of the timesteps 0 .. T-1, evenly from the last one down: 4 of 1000 are 999, 749, 499, 249."""
    if not 1 <= steps <= timesteps:
        raise InputError(f"steps is {steps}; 1 to {timesteps} are needed")
    return [round(timesteps * (steps - k) / steps) - 1 for k in range(steps)]


def is_baseline(folder: Path) -> bool:
    """Whether a folder holds a trained baseline, and not a run of our own training."""
    return (folder / FACTS).exists()


@lru_cache(maxsize=2)
def _bundle(folder: Path) -> Bundle:
    return load_bundle(folder)


@lru_cache(maxsize=2)
def _network(folder: Path) -> tuple[torch.nn.Module, Diffusion, int | None]:
    """(network, its diffusion, the core of its tiles) of a baseline's or a run's folder."""
    if is_baseline(folder):
        network, _ = load_baseline(folder)
        # Instance normalisation measures what it is shown: tiles as near to the training's patches as the halo allows.
        normalised = network.config.name == "swinunetr"
        tile = max(network.config.patch - 2 * network.config.reach, network.config.reach) if normalised else None
        return network, Diffusion(prediction="x0"), tile
    from training.train import load_run

    if not (folder / CHECKPOINT).exists():
        made_by = f"{FACTS} (mapdiff-train baseline) nor {CHECKPOINT} (mapdiff-train train)"
        raise InputError(f"{folder} holds neither {made_by}")
    network, config = load_run(folder)
    return network, config.diffusion, None
