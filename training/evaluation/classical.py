"""Methods of the table without training: Gaussian filter, non-local means, BM4D.

The last two expect noise of one strength everywhere. PET noise grows with activity, so they work on log1p of the scan
(restoration/intensity.py), where it is nearly even, with the strength read off the scan itself (noise.relative_noise).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage

from MAPDiffLib.errors import InputError
from MAPDiffLib.restoration.intensity import BODY_MEAN_SUV, LOG_DEVIATION, Intensity
from MAPDiffLib.restoration.noise import relative_noise
from MAPDiffLib.scan.geometry import bounding_box, sigma_voxels
from MAPDiffLib.scan.volume import Volume, body_mask
from training.evaluation.method import Result
from training.scores.doses import with_mixes

# Of log1p(x): d/dx = 1 / (1 + x), so a relative noise n at the body's mean is this much of it in the logarithm.
LOG_SHARE = BODY_MEAN_SUV / (1 + BODY_MEAN_SUV)


@dataclass(frozen=True)
class Gaussian:
    """A Gaussian filter of this full width at half maximum."""

    width_mm: float

    def __call__(self, scan: Volume, dose: float) -> Result:
        full = ndimage.gaussian_filter(scan.voxels, sigma_voxels(self.width_mm, scan.spacing_mm))
        return Result(with_mixes(scan.voxels, dose, full))


@dataclass(frozen=True)
class NonLocalMeans:
    """Non-local means (Buades et al. 2005) of scikit-image: 3 x 3 x 3 patches within 3 voxels, h = strength x noise."""

    strength: float

    def __call__(self, scan: Volume, dose: float) -> Result:
        try:
            from skimage.restoration import denoise_nl_means
        except ImportError:
            raise InputError('non-local means needs scikit-image: pip install -e ".[baselines]"') from None

        def filtered(image: np.ndarray, sigma: float) -> np.ndarray:
            return denoise_nl_means(image, patch_size=3, patch_distance=3, h=self.strength * sigma, sigma=0.0)

        return Result(with_mixes(scan.voxels, dose, _in_logarithm(scan, filtered)))


@dataclass(frozen=True)
class BM4D:
    """BM4D (Maggioni et al. 2013; PyPI bm4d) for noise of strength x the measured one, correlated over this FWHM."""

    strength: float
    correlation_mm: float = 6.0

    def __call__(self, scan: Volume, dose: float) -> Result:
        try:
            from bm4d import bm4d
        except ImportError:
            raise InputError('BM4D needs the package bm4d: pip install -e ".[baselines]"') from None

        def filtered(image: np.ndarray, sigma: float) -> np.ndarray:
            with _numpy_with_trapz():
                return bm4d(image, self._spectrum(image.shape, self.strength * sigma, scan))

        return Result(with_mixes(scan.voxels, dose, _in_logarithm(scan, filtered)))

    def _spectrum(self, shape: tuple[int, ...], sigma: float, scan: Volume) -> np.ndarray:
        """Power spectrum of white noise blurred by a Gaussian, scaled to the standard deviation sigma."""
        # White noise blurred by a Gaussian of width w is correlated over sqrt(2) w.
        widths = sigma_voxels(self.correlation_mm / np.sqrt(2), scan.spacing_mm)
        axes = [np.exp(-((2 * np.pi * np.fft.fftfreq(n)) ** 2) * w**2) for n, w in zip(shape, widths, strict=True)]
        spectrum = axes[0][:, None, None] * axes[1][:, None] * axes[2]
        return spectrum / spectrum.mean() * sigma**2 * spectrum.size


@contextmanager
def _numpy_with_trapz() -> Iterator[None]:
    """bm4d (4.2.5) still asks NumPy for `trapz`, which 2.4 knows as `trapezoid` alone."""
    lacking = not hasattr(np, "trapz")
    if lacking:
        np.trapz = np.trapezoid
    try:
        yield
    finally:
        if lacking:
            del np.trapz


def _in_logarithm(scan: Volume, filtered: Callable[[np.ndarray, float], np.ndarray]) -> np.ndarray:
    """`filtered(image, sd of its noise)` on the logarithm of the body's box; air is passed through."""
    body = body_mask(scan.voxels, scan.spacing_mm)
    box = bounding_box(body)
    intensity = Intensity.of_scan(scan.voxels, body)
    sigma = LOG_SHARE * relative_noise(scan.voxels, body, scan.spacing_mm) / LOG_DEVIATION
    values = filtered(intensity.to_network(torch.from_numpy(scan.voxels[box])).numpy(), sigma)
    image = intensity.to_physical(torch.from_numpy(np.asarray(values, np.float32))).numpy()
    full = scan.voxels.copy()
    full[box] = np.where(body[box], image, full[box])
    return full
