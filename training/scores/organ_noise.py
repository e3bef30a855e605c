"""Noise of a body, of an organ that should be even, and its spectrum, of one image to be set beside another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from MAPDiffLib.scan.geometry import bounding_box

BANDS_PER_MM = (0.01, 0.03, 0.05, 0.07, 0.1, 0.14)
AWAY_MM = 12.0  # from a lesion: what spills out of it is no noise
LEAST_ML = 50.0
ROUGH_MM = 3.3  # sigma


def roughness(image: np.ndarray, body: np.ndarray, spacing_mm: Sequence[float]) -> float:
    """Mean over the body of |I - Gauss(I)|, I = log1p(SUV): UDPET's noise metric, on the image's own voxels."""
    logs = np.log1p(np.maximum(image, 0))
    smooth = ndimage.gaussian_filter(logs, [ROUGH_MM / s for s in reversed(spacing_mm)])
    return float(np.abs(logs - smooth)[body].mean(dtype=float))


def even_part(
    organ: np.ndarray | None, lesions: Sequence[np.ndarray], spacing_mm: Sequence[float]
) -> np.ndarray | None:
    """The organ, bool [z, y, x], without its two outer voxels and the surroundings of lesions; None where little is
    left."""
    if organ is None:
        return None
    inner = ndimage.binary_erosion(organ, iterations=2)
    if lesions:
        away = ndimage.distance_transform_edt(~np.any(lesions, axis=0), sampling=spacing_mm[::-1])
        inner &= away > AWAY_MM
    return inner if inner.sum() * np.prod(spacing_mm) / 1000 >= LEAST_ML else None


def variation(image: np.ndarray, mask: np.ndarray) -> float:
    """Standard deviation over mean."""
    inside = image[mask]
    return float(inside.std(dtype=float) / inside.mean(dtype=float))


def spectrum(
    image: np.ndarray, mask: np.ndarray, spacing_mm: Sequence[float], nodes: Sequence[float] = ()
) -> np.ndarray:
    """Power within a mask in each band of BANDS_PER_MM: [bands]. With `nodes`, frequencies per mm, [bands, nodes]: how
    much of it a line between values at the nodes multiplies by each."""
    found = bounding_box(mask)
    inside = np.where(mask[found], image[found] - image[mask].mean(dtype=float), 0)
    power = np.abs(np.fft.rfftn(inside)) ** 2
    axes = [np.fft.fftfreq(n, s) for n, s in zip(inside.shape[:2], spacing_mm[:0:-1], strict=True)]
    z, y, x = np.ix_(*axes, np.fft.rfftfreq(inside.shape[2], spacing_mm[0]))
    frequency = np.sqrt(z**2 + y**2 + x**2)
    bands = zip(BANDS_PER_MM, BANDS_PER_MM[1:], strict=False)
    chosen = [(frequency >= low) & (frequency < high) for low, high in bands]
    if not nodes:
        return np.array([power[band].sum() for band in chosen])
    shares = [np.interp(frequency, nodes, own) for own in np.eye(len(nodes))]
    return np.array([[(power * share)[band].sum() for share in shares] for band in chosen])
