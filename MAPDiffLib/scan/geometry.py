"""Where something lies in a volume, and how wide a Gaussian is in its voxels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

FWHM_PER_SIGMA = 2.3548  # full width at half maximum of a Gaussian of unit sigma


def sigma_voxels(fwhm_mm: float, spacing_mm: Sequence[float]) -> list[float]:
    """The standard deviation, in voxels along (z, y, x), of a Gaussian of this full width at half maximum; spacing
    (x, y, z)."""
    return [fwhm_mm / FWHM_PER_SIGMA / spacing for spacing in reversed(spacing_mm)]


def bounding_box(mask: np.ndarray, margin: int | Sequence[int] = 0) -> tuple[slice, ...]:
    """The smallest box around what is not zero in `mask`, wider by `margin` voxels to each side, held within the array.

    One slice per axis; margin: one for all axes or one each. ValueError for a mask of nothing.
    """
    margins = [margin] * mask.ndim if isinstance(margin, int) else margin
    spans = []
    for axis, (length, wider) in enumerate(zip(mask.shape, margins, strict=True)):
        hits = np.flatnonzero(mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis)))
        if not len(hits):
            raise ValueError(f"a mask of shape {mask.shape} holds nothing: it has no box")
        spans.append(slice(max(0, int(hits[0]) - wider), min(length, int(hits[-1]) + 1 + wider)))
    return tuple(spans)
