"""What is left of a lesion's contrast, by how far the lesion stands out of the noise of the scan that was restored.

A lesion of six standard deviations is one that a reader sees in the scan; a restoration that levels it has lost it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage, signal

from MAPDiffLib.scan.geometry import bounding_box

RING_MM = (4.0, 12.0)  # a lesion's surroundings: this far from it
NEARBY_MM = 24.0  # noise is taken from the same mask moved by up to this along each axis
CLASSES = ((2.0, 4.0), (4.0, 6.0), (6.0, 10.0), (10.0, np.inf))
SIZES_MM = ((5.0, 9.0), (9.0, 13.0), (13.0, 18.0), (18.0, np.inf))
FAINTEST = 0.1  # SUV: a lesion with less contrast in the real full dose has none that could be recovered


@dataclass(frozen=True)
class LesionSite:
    """A lesion in its box: `box` of the volume, in it the lesion's `mask` and its `ring`, bool [z, y, x]."""

    box: tuple[slice, ...]
    mask: np.ndarray
    ring: np.ndarray
    diameter_mm: float

    @classmethod
    def of(
        cls, mask: np.ndarray, others: np.ndarray, body: np.ndarray, spacing_mm: Sequence[float], diameter_mm: float
    ) -> LesionSite:
        """Of a mask, where `others` marks every lesion; all bool [z, y, x]."""
        spacing = tuple(reversed(spacing_mm))
        box = bounding_box(mask, [int(np.ceil(NEARBY_MM / s)) for s in spacing])
        distance = ndimage.distance_transform_edt(~mask[box], sampling=spacing)
        ring = (distance > RING_MM[0]) & (distance <= RING_MM[1]) & body[box] & ~others[box]
        return cls(box, mask[box], ring, diameter_mm)

    @property
    def centre(self) -> list[float]:
        """Of the lesion, in voxels of the volume (z, y, x)."""
        middle = ndimage.center_of_mass(self.mask)
        return [part.start + m for part, m in zip(self.box, middle, strict=True)]

    def contrast(self, image: np.ndarray) -> float:
        """Mean in the lesion less that of its ring, in the image's units; nan where it has no ring."""
        inside = image[self.box]
        if not self.ring.any():
            return float("nan")
        return float(inside[self.mask].mean(dtype=float) - inside[self.ring].mean(dtype=float))

    def mean_and_max(self, image: np.ndarray) -> tuple[float, float]:
        """Of the lesion's voxels, in the image's unit."""
        inside = image[self.box][self.mask]
        return float(inside.mean(dtype=float)), float(inside.max())

    def signal_to_noise(self, scan: np.ndarray, noise_free: np.ndarray) -> float:
        """The noise-free contrast over the deviation of what the noise of `scan` does to means over the same mask
        nearby."""
        noise = (scan[self.box] - noise_free[self.box]).astype(float)
        spans = bounding_box(self.mask)
        kernel = self.mask[spans].astype(float) / self.mask.sum()
        means = signal.fftconvolve(noise, kernel[::-1, ::-1, ::-1], mode="valid")
        return self.contrast(noise_free) / float(means.std()) if means.size > 1 and means.std() > 0 else float("nan")


def class_of(value: float, classes: Sequence[tuple[float, float]]) -> str | None:
    """ "6-10", "over 10": the class that a value lies in; None in none of them."""
    for low, high in classes:
        if low <= value < high:
            return f"over {low:g}" if np.isinf(high) else f"{low:g}-{high:g}"
    return None


def recovered(site: LesionSite, image: np.ndarray, full: np.ndarray) -> float:
    """The lesion's contrast in an image over that in the real full dose; nan where that has hardly any."""
    real = site.contrast(full)
    return site.contrast(image) / real if real > FAINTEST else float("nan")
