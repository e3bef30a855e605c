"""Where in a scan the body is, from the activity alone."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from MAPDiffLib.scan.geometry import FWHM_PER_SIGMA

SMOOTHING_FWHM_MM = 10.0
BODY_FRACTION = 0.2  # of the median activity of the body itself


def body_mask(voxels: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """Where the body is: bool [z, y, x] for voxels [z, y, x] with spacing (x, y, z) in mm.

    Works alike for any unit and down to 1/100 of a full dose; arms and legs are kept, lungs and air inside are filled.
    """
    spacing_zyx = np.asarray(spacing_mm[::-1], dtype=float)
    bins = _bins(spacing_zyx)
    smooth = _smooth(_binned(voxels, bins), spacing_zyx * bins)
    inside = smooth > BODY_FRACTION * _body_level(smooth)
    inside = _smooth(inside.astype(np.float32), spacing_zyx * bins) > 0.5  # majority of the neighbours: noise has none
    inside = _filled(_large_parts(inside))
    for axis, count in enumerate(bins):
        inside = np.repeat(inside, count, axis=axis) if count > 1 else inside
    return np.ascontiguousarray(inside[tuple(slice(0, size) for size in voxels.shape)])


def signed_shares(voxels: np.ndarray, spacing_mm: tuple[float, float, float]) -> tuple[float, float]:
    """Sums of the positive and of the negative values (as a positive number) once the noise is smoothed away."""
    spacing_zyx = np.asarray(spacing_mm[::-1], dtype=float)
    bins = _bins(spacing_zyx)
    smooth = _smooth(_binned(voxels, bins), spacing_zyx * bins)
    return float(smooth[smooth > 0].sum(dtype=float)), float(-smooth[smooth < 0].sum(dtype=float))


def _bins(spacing_zyx: np.ndarray) -> np.ndarray:
    """Voxels to average along each axis, for a grid of at most 5 mm where the scan is finer."""
    return np.maximum(1, (5.0 // spacing_zyx).astype(int))


def _binned(voxels: np.ndarray, bins: np.ndarray) -> np.ndarray:
    """Means over blocks of `bins` voxels [z, y, x]; the last block is completed by repeating the edge."""
    voxels = np.asarray(voxels, dtype=np.float32)
    for axis, count in enumerate(bins):
        if count > 1:
            missing = [(0, -voxels.shape[axis] % count if a == axis else 0) for a in range(3)]
            voxels = np.pad(voxels, missing, mode="edge")
            shape = voxels.shape[:axis] + (voxels.shape[axis] // count, count) + voxels.shape[axis + 1 :]
            voxels = voxels.reshape(shape).mean(axis=axis + 1)
    return voxels


def _smooth(values: np.ndarray, spacing_zyx: np.ndarray) -> np.ndarray:
    sigma = SMOOTHING_FWHM_MM / FWHM_PER_SIGMA / spacing_zyx
    return ndimage.gaussian_filter(values, sigma, mode="nearest", truncate=3.0)


def _body_level(smooth: np.ndarray) -> float:
    """The median activity of what exceeds its own threshold.

    Coming from the hottest organ the level falls to that of soft tissue and stays there, because air lies well below
    the threshold that soft tissue sets.
    """
    values = np.sort(smooth[smooth > 0], axis=None)
    if values.size == 0:
        return 0.0
    first = 0
    level = float(values[int(0.99 * (values.size - 1))])
    for _ in range(50):
        previous, first = first, int(np.searchsorted(values, BODY_FRACTION * level))
        if first == previous:
            break
        level = float(values[first + (values.size - first) // 2])
    return level


def _large_parts(inside: np.ndarray, fraction: float = 0.01) -> np.ndarray:
    """Connected parts of at least `fraction` of the largest (a trunk, two arms, two legs)."""
    labels, count = ndimage.label(inside)
    if count < 2:
        return inside
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return (sizes >= fraction * sizes.max())[labels] & inside


def _filled(inside: np.ndarray) -> np.ndarray:
    """Holes that close within one slice [y, x] are filled, all slices at once."""
    in_plane = np.zeros((3, 3, 3), dtype=bool)
    in_plane[1] = ndimage.generate_binary_structure(2, 1)
    labels, count = ndimage.label(~inside, structure=in_plane)
    outside = np.zeros(count + 1, dtype=bool)
    for edge in (labels[:, 0], labels[:, -1], labels[:, :, 0], labels[:, :, -1]):
        outside[edge] = True
    outside[0] = False
    return ~outside[labels]
