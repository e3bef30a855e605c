"""What a volume shows by its values and its size alone, whatever its units: a label map, a small animal."""

from __future__ import annotations

import numpy as np

from MAPDiffLib.scan.geometry import bounding_box

MOSTLY = 0.5  # of neighbours with a label, those with the same one: noise leaves a third at most
SMALLEST_BODY_MM = 80.0  # across; rats are narrower, newborns are not


def is_label_map(voxels: np.ndarray) -> bool:
    """Whether voxels [z, y, x] are numbers of regions: two values in all, or whole numbers mostly alike side by side.

    Measured activity has noise in it, also where it has been rounded to whole numbers.
    """
    low, high = voxels.min(), voxels.max()
    few = voxels.reshape(-1)[:: max(1, voxels.size // 100_000)]
    if low < 0 or not (np.isin(few, (low, high)).all() or (few == np.floor(few)).all()):
        return False
    if ((voxels == low) | (voxels == high)).all():
        return True
    if not (voxels == np.floor(voxels)).all():
        return False
    either = (voxels[..., 1:] > 0) | (voxels[..., :-1] > 0)
    same = either & (voxels[..., 1:] == voxels[..., :-1])
    return np.count_nonzero(same) > MOSTLY * np.count_nonzero(either)


def body_size_mm(body: np.ndarray, spacing_mm: tuple[float, float, float]) -> list[float]:
    """The three edges of the box around a body [z, y, x], ascending; spacing (x, y, z). Zeros where there is none."""
    if not body.any():
        return [0.0, 0.0, 0.0]
    spans = zip(bounding_box(body), reversed(spacing_mm), strict=True)
    return sorted(float((span.stop - span.start) * spacing) for span, spacing in spans)
