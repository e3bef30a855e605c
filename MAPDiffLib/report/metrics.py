"""How near an estimate is to its reference inside a mask: error, signal to noise, structure."""

from __future__ import annotations

import math

import numpy as np

from MAPDiffLib.errors import InputError
from MAPDiffLib.scan.geometry import bounding_box


def nmae(estimate: np.ndarray, reference: np.ndarray, mask: np.ndarray) -> float:
    """Normalised mean absolute error, sum |estimate - reference| / sum |reference| over the mask; arrays [z, y, x]."""
    estimate, reference = _inside(estimate, reference, mask)
    total = float(np.abs(reference).sum())
    if total == 0:
        raise InputError("the reference is zero everywhere in the mask: no error can be normalised. Check the mask.")
    return float(np.abs(estimate - reference).sum()) / total


def psnr(estimate: np.ndarray, reference: np.ndarray, mask: np.ndarray, peak: float = 20.0) -> float:
    """Peak signal-to-noise ratio in dB over the mask; `peak` in the arrays' unit (SUV). Infinite when equal."""
    estimate, reference = _inside(estimate, reference, mask)
    mean_square = float(np.mean((estimate - reference) ** 2))
    return math.inf if mean_square == 0 else 10 * math.log10(peak**2 / mean_square)


def ssim(estimate: np.ndarray, reference: np.ndarray, mask: np.ndarray, data_range: float = 20.0) -> float:
    """Mean over the mask of the structural similarity (Wang et al. 2004, Gaussian window of sigma 1.5 voxels).

    `data_range` is in the arrays' unit (SUV). Needs scikit-image, else raises InputError.
    """
    try:
        from skimage.metrics import structural_similarity
    except ImportError:
        raise InputError('SSIM needs scikit-image, which is not installed: pip install "mapdiff[demo]"') from None
    _inside(estimate, reference, mask)
    if min(np.shape(estimate)) < 11:
        raise InputError(f"SSIM needs at least 11 voxels along each axis for its window, not {np.shape(estimate)}.")
    box = bounding_box(mask, 11)  # wider than the window, so that the map in the mask is that of the whole volume
    _, similarity = structural_similarity(
        np.asarray(estimate[box], dtype=np.float32),
        np.asarray(reference[box], dtype=np.float32),
        data_range=data_range,
        gaussian_weights=True,
        full=True,
    )
    return float(np.mean(similarity[mask[box]], dtype=float))


def _inside(estimate: np.ndarray, reference: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if not np.shape(estimate) == np.shape(reference) == np.shape(mask):
        raise InputError(
            f"the shapes differ: estimate {np.shape(estimate)}, reference {np.shape(reference)}, mask {np.shape(mask)}."
            " Compare volumes on the same grid."
        )
    mask = np.asarray(mask, dtype=bool)
    if not mask.any():
        raise InputError("the mask is empty: there is nothing to compare.")
    return np.asarray(estimate)[mask].astype(float), np.asarray(reference)[mask].astype(float)
