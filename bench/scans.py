"""The scans that are timed: the simulator's body with noise of a 1/20 dose, small (4 mm) and as a Quadra gives it."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional

from MAPDiffLib.restoration.noise import UNKNOWN_NOISE
from MAPDiffLib.scan.geometry import sigma_voxels
from MAPDiffLib.scan.volume import Volume
from training.simulate.phantom import make_phantom
from training.simulate.shapes import Grid

SMALL = Grid((256, 128, 128), (4.0, 4.0, 4.0))
QUADRA = Grid((644, 440, 440), (1.65, 1.65, 1.65))
NOISE, NOISE_FWHM_MM = 0.17, 7.0  # relative to the body's mean, at the mean activity
DOSE = 0.05  # told to every run, so that each makes the same doses


def small_scan(seed: int = 200_000) -> Volume:
    """A body on the 128 x 128 x 256 grid of 4 mm, in SUV."""
    return _noisy(make_phantom(seed, SMALL).activity, SMALL)


def quadra_scan(seed: int = 200_000) -> Volume:
    """The same body on the 440 x 440 x 644 grid of 1.65 mm: resampled, with air around it, then noise of its own."""
    coarse = torch.from_numpy(make_phantom(seed, SMALL).activity)[None, None]
    fine = functional.interpolate(coarse, scale_factor=SMALL.spacing_mm[0] / QUADRA.spacing_mm[0], mode="trilinear")
    activity = np.zeros(QUADRA.shape, np.float32)
    inner = tuple(slice((n - m) // 2, (n - m) // 2 + m) for n, m in zip(QUADRA.shape, fine.shape[2:], strict=True))
    activity[inner] = fine[0, 0].numpy()
    return _noisy(activity, QUADRA)


def cropped(scan: Volume, slices: int) -> Volume:
    """The middle `slices` of a scan: the same body, less of it."""
    start = (len(scan.voxels) - slices) // 2
    return scan.with_voxels(scan.voxels[start : start + slices])


def usual_noise(device: torch.device) -> torch.Tensor:
    """What a network is told of one scan of 4 mm voxels, [1, 3]: how long it takes does not depend on it."""
    return torch.tensor([UNKNOWN_NOISE.in_voxels(SMALL.spacing_mm)], device=device)


def _noisy(activity: np.ndarray, grid: Grid) -> Volume:
    """Noise of an iterative reconstruction, roughly: as the root of the activity, correlated, never negative."""
    noise = np.random.default_rng(0).standard_normal(activity.shape, dtype=np.float32)
    noise = ndimage.gaussian_filter(noise, sigma_voxels(NOISE_FWHM_MM, grid.spacing_mm), truncate=3)
    noise *= NOISE / noise[::4].std()
    mean = activity[activity > 0.1].mean()
    voxels = np.maximum(activity + noise * np.sqrt(np.maximum(activity, 0) * mean), 0)
    return Volume(voxels, grid.spacing_mm, units="SUVbw", metadata={"modality": "PT"})
