"""What validation cases decide after training, for each input dose: weights of the path's stops, the uncertainty's
scale, and the widest noise that the network knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import minimize

from MAPDiffLib.model.diffusion import Diffusion
from MAPDiffLib.model.manifest import WideNoise
from MAPDiffLib.model.network import DenoisingUNet
from MAPDiffLib.restoration.activity_guard import guard_activity
from MAPDiffLib.restoration.box import BodyBox
from MAPDiffLib.restoration.device import Compute
from MAPDiffLib.restoration.intensity import Intensity
from MAPDiffLib.restoration.noise import noise_volume_mm3, noise_widths
from MAPDiffLib.restoration.sampling import ScanDenoiser, descend, first_estimate
from MAPDiffLib.restoration.tiles import TiledNetwork
from MAPDiffLib.scan.volume import body_mask
from training.cases.case_file import read_dose

VOXELS = 40_000  # drawn per case: the fit has a handful of unknowns
COVERAGE = 0.91  # of the 90 % interval: a little wide, since fitted to 90 % it held 85 % on scanners not fitted on


@dataclass(frozen=True)
class Measured:
    """Body voxels of one case: x0_hat per timestep [k, n], the real full dose [n], the spread of the samples [n]."""

    estimates: np.ndarray
    full: np.ndarray
    spread: np.ndarray


def measure(
    network: DenoisingUNet, diffusion: Diffusion, case: Path, dose: float, timesteps: Sequence[int], samples: int
) -> Measured:
    """Restore one case and keep random voxels of its body."""
    volume = read_dose(case, dose)
    body = body_mask(volume.voxels, volume.spacing_mm)
    intensity = Intensity.of_scan(volume.voxels, body)
    box = BodyBox.around(body, network.config.stride)
    tiled = TiledNetwork(network, box.crop(body), Compute(torch.device("cpu"), torch.float32))
    denoise = ScanDenoiser(tiled, diffusion, intensity.to_network(box.crop(volume.voxels)), dose)
    first = first_estimate(denoise, intensity, timesteps[0], samples, seed=1)
    inside = np.flatnonzero(body[box.slices])
    scan, mask = (box.unpad(box.crop(array)) for array in (volume.voxels, body))
    chosen = np.random.default_rng(0).choice(inside, min(VOXELS, len(inside)), replace=False)

    def pick(array: np.ndarray | torch.Tensor) -> np.ndarray:
        return np.asarray(array).ravel()[chosen]

    def guarded(x0_hat: torch.Tensor) -> torch.Tensor:
        """As every dose will be: weights shall not mend what the guard mends."""
        return guard_activity(box.unpad(intensity.to_physical(x0_hat)), scan, mask, volume.spacing_mm)[0]

    return Measured(
        np.stack([pick(guarded(x0_hat)) for _, x0_hat in descend(denoise, first, timesteps)]),
        pick(read_dose(case, 1.0).voxels[box.slices]),
        pick(box.unpad(first.spread)),
    )


def fit_weights(measured: Sequence[Measured], timesteps: Sequence[int]) -> dict[int, float]:
    """Convex weights of the evaluations at `timesteps`, minimising the mean NMAE of full dose: {timestep: weight}."""

    def weights(unknowns: np.ndarray) -> np.ndarray:
        exponent = np.exp(unknowns - unknowns.max())
        return (exponent / exponent.sum()).astype(np.float32)

    def error(unknowns: np.ndarray) -> float:
        return float(np.mean([_nmae(weights(unknowns) @ m.estimates, m.full) for m in measured]))

    count = len(timesteps)
    starts = [np.zeros(count), np.r_[3.0, np.zeros(count - 1)]]
    found = [minimize(error, start, method="Powell", options={"xtol": 1e-2, "ftol": 1e-5}) for start in starts]
    best = weights(min(found, key=lambda result: result.fun).x)
    return {t: round(float(weight), 4) for t, weight in zip(timesteps, best, strict=True)}


def fit_uncertainty(measured: Sequence[Measured], weights: dict[int, float], coverage: float = COVERAGE) -> float:
    """The factor that makes +- 1.645 scaled spreads hold `coverage` of the body voxels of the validation cases."""
    ratios = []
    for m in measured:
        full = np.array(list(weights.values()), np.float32) @ m.estimates
        ratios.append(np.abs(full - m.full) / np.maximum(m.spread, 1e-6))
    return float(np.quantile(np.concatenate(ratios), coverage) / 1.645)


def widest_noise(cases: Sequence[Path], dose: float) -> tuple[tuple[float, float], WideNoise] | None:
    """The widest noise of any of these cases at this dose: noise_voxels, (axial, in plane) in voxels of its own scan
    (working_grid.py; of the two axes in plane the narrower counts), and wide_noise, its volume with a power of 0, which
    is decided later (other_scanners.py). None where it cannot be measured in any."""
    found, volumes = [], []
    for case in cases:
        scan = read_dose(case, dose)
        widths = noise_widths(scan.voxels, scan.body, scan.spacing_mm)
        if widths is not None and not np.isnan(widths).any():
            axial, *plane = np.array(widths) / scan.spacing_mm[::-1]
            found.append((axial, min(plane)))
            volumes.append(noise_volume_mm3(widths))
    if not found:
        return None
    axial, in_plane = (round(float(width), 3) for width in np.max(found, axis=0))
    return (axial, in_plane), WideNoise(round(max(volumes), 1), 0.0)


def _nmae(estimate: np.ndarray, real: np.ndarray) -> float:
    return float(np.abs(estimate - real).sum() / np.abs(real).sum())
