"""False hot spots: what a reader would take for a lesion although nothing true lies there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

FACTOR = 1.5  # this many times hotter than anything true nearby
NEAR_MM = 10.0  # nearby: a misplaced edge or a blurred organ is no false lesion
FLOOR_SUV = 0.5  # fainter surroundings count as this: nobody reads lungs at a third of the body's mean
LEAST_ML = 0.2  # a single hot voxel is noise to every reader


def false_hot_spots(image: np.ndarray, truth: np.ndarray, body: np.ndarray, spacing_mm: Sequence[float]) -> int:
    """How many connected spots of at least 0.2 mL are over 1.5 x what the truth holds within 10 mm; all [z, y, x]."""
    return spots_over(image, hottest_nearby(truth, spacing_mm), body, spacing_mm)


def spots_over(image: np.ndarray, hottest: np.ndarray, body: np.ndarray, spacing_mm: Sequence[float]) -> int:
    """`false_hot_spots` where `hottest_nearby` is known."""
    expected = np.maximum(hottest, FLOOR_SUV)
    spots, count = ndimage.label(body & (image > FACTOR * expected), structure=np.ones((3, 3, 3)))
    sizes_ml = np.bincount(spots.ravel(), minlength=count + 1)[1:] * np.prod(spacing_mm) / 1000
    return int((sizes_ml >= LEAST_ML).sum())


def hottest_nearby(truth: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """The maximum of the truth in a box of 10 mm to each side."""
    return ndimage.maximum_filter(truth, [2 * max(1, round(NEAR_MM / s)) + 1 for s in reversed(spacing_mm)])
