"""Image quality of a restored full dose against the real one, inside the body."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from MAPDiffLib.report.metrics import nmae, psnr, ssim
from MAPDiffLib.scan.geometry import bounding_box

PEAK_SUV = 20.0
WINDOW_SUV = 5.0  # GMSD's intensities are those of the usual display window, 0 to SUV 5
GMSD_CONSTANT = 170 / 255**2  # Xue et al. 2014 (arXiv 1308.3052), for intensities in [0, 1]


def image_scores(image: np.ndarray, real: np.ndarray, body: np.ndarray) -> dict[str, float]:
    """PSNR in dB with the real volume's maximum and with SUV 20 as peak, SSIM, NMAE, NRMSE, GMSD; all [z, y, x]."""
    return {
        "psnr_max": psnr(image, real, body, float(real[body].max())),
        "psnr": psnr(image, real, body, PEAK_SUV),
        "ssim": ssim(image, real, body),
        "nmae": nmae(image, real, body),
        "nrmse": nrmse(image, real, body),
        "gmsd": gmsd(image, real, body),
    }


def nrmse(image: np.ndarray, real: np.ndarray, mask: np.ndarray) -> float:
    """Root of sum (image - real)^2 / sum real^2 over the mask."""
    image, real = image[mask].astype(float), real[mask].astype(float)
    return float(np.sqrt(np.square(image - real).sum() / np.square(real).sum()))


def gmsd(image: np.ndarray, real: np.ndarray, mask: np.ndarray) -> float:
    """Gradient magnitude similarity deviation (Xue et al. 2014), in three dimensions: 0 for equal edges."""
    box = bounding_box(mask, 1)
    a, b = (_gradient(np.clip(volume[box] / WINDOW_SUV, 0, 1)) for volume in (image, real))
    similarity = (2 * a * b + GMSD_CONSTANT) / (a**2 + b**2 + GMSD_CONSTANT)
    return float(similarity[mask[box]].std(dtype=float))


def _gradient(volume: np.ndarray) -> np.ndarray:
    """Magnitude of the gradient with Prewitt's kernel, each a mean over nine differences of two neighbours."""
    volume = np.asarray(volume, np.float32)
    return np.sqrt(sum(np.square(ndimage.prewitt(volume, axis) / 9) for axis in range(3)))
