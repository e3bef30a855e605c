"""Free-response sensitivity: which true lesions a fixed detector finds at one false positive a volume.

The same detector reads every image: what is judged is what a method made of the scan. A candidate is a local maximum of
contrast over the noise of its surroundings. One at a true lesion is a hit. One where the noise-free image has such a
contrast too is anatomy, which a reader knows, and counts as nothing; the rest are false positives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from MAPDiffLib.scan.geometry import bounding_box

SCALES_MM = (4.0, 8.0)  # of the inner Gaussian, the outer's is twice as large: for lesions of about 6 to 40 mm
SURROUNDINGS = 4.0  # noise is taken this many standard deviations to each side
FAINTEST = 0.1  # of the surroundings, or of FLOOR_SUV where they are fainter: nobody sees less, however smooth
FLOOR_SUV = 0.5
LEAST = 1.0  # a candidate has more contrast than its surroundings have on average
APART_MM = 8.0  # two candidates are further apart
REACH_MM = 6.0  # a candidate so near to a lesion's mask is that lesion's
EXPLAINED = 0.5  # anatomy with this share of a candidate's contrast so near explains it
MOST_FALSE = 100  # kept of a volume, the highest: far more than any threshold of interest needs


@dataclass(frozen=True)
class FreeResponse:
    """Of one volume: each lesion's score (0 where no candidate is), and the false positives' scores, falling."""

    lesions: list[float]
    false: list[float]

    @classmethod
    def of(cls, lesions: list[float], false: np.ndarray) -> FreeResponse:
        """With the highest of the false positives."""
        return cls(lesions, np.sort(false)[::-1][:MOST_FALSE].tolist())


def detect(image: np.ndarray, spacing_mm: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """(score, contrast in SUV) of every voxel [z, y, x]: of the scale whose score is higher.

    Contrast is a difference of Gaussians; the score is that over its root mean square nearby.
    """
    best = np.full((2, *image.shape), -np.inf, np.float32)
    for scale in SCALES_MM:
        inner, outer = (_smooth(image, width, spacing_mm) for width in (scale, 2 * scale))
        contrast = inner - outer
        box = [2 * max(1, round(SURROUNDINGS * scale / s)) + 1 for s in reversed(spacing_mm)]
        noise = ndimage.uniform_filter(np.square(contrast), box, mode="nearest").clip(min=0)
        faintest = FAINTEST * np.maximum(outer, FLOOR_SUV)
        here = np.stack([contrast / np.sqrt(noise + np.square(faintest)), contrast])
        best = np.where(here[0] > best[0], here, best)
    return best[0], best[1]


def free_response(
    image: np.ndarray,
    noise_free: np.ndarray,
    lesions: Sequence[np.ndarray],
    body: np.ndarray,
    spacing_mm: Sequence[float],
) -> FreeResponse:
    """The candidates of an image, told apart by the lesions' masks (bool) and the noise-free image; all [z, y, x]."""
    box = bounding_box(body)
    score, contrast = detect(image[box], spacing_mm)
    peaks = body[box] & candidates(score, spacing_mm)
    found, near_any = [], np.zeros(peaks.shape, bool)
    for mask in lesions:
        near = near_lesion(mask[box], spacing_mm)
        near_any |= near
        found.append(float(score[near & peaks].max(initial=0.0)))
    anatomy = ndimage.maximum_filter(detect(noise_free[box], spacing_mm)[1], _window(APART_MM, spacing_mm))
    false = score[peaks & ~near_any & (anatomy < EXPLAINED * contrast)]
    return FreeResponse.of(found, false)


def candidates(score: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """The maxima above LEAST of scores [z, y, x], APART_MM from each other: bool."""
    return (score > LEAST) & (score == ndimage.maximum_filter(score, _window(APART_MM, spacing_mm)))


def sensitivity(volumes: Sequence[FreeResponse], false_positives: float = 1.0) -> float | None:
    """The share of all lesions that score above the threshold with at most so many false positives a volume.

    None where there is no lesion.
    """
    scores = np.array([score for volume in volumes for score in volume.lesions])
    return float((scores > threshold_at(volumes, false_positives)).mean()) if scores.size else None


def threshold_at(volumes: Sequence[FreeResponse], false_positives: float = 1.0) -> float:
    """The lowest score that at most so many false positives a volume exceed."""
    false = sorted((score for volume in volumes for score in volume.false), reverse=True)
    allowed = int(false_positives * len(volumes))
    return false[allowed] if allowed < len(false) else 0.0


def _smooth(image: np.ndarray, sigma_mm: float, spacing_mm: Sequence[float]) -> np.ndarray:
    sigmas = [sigma_mm / s for s in reversed(spacing_mm)]
    return ndimage.gaussian_filter(image, sigmas, mode="nearest", truncate=3.0, output=np.float32)


def _window(reach_mm: float, spacing_mm: Sequence[float]) -> list[int]:
    return [2 * max(1, round(reach_mm / s)) + 1 for s in reversed(spacing_mm)]


def near_lesion(mask: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """Within REACH_MM of a mask."""
    spacing = tuple(reversed(spacing_mm))
    near = np.zeros_like(mask)
    if not mask.any():  # nothing of the lesion lies in the body
        return near
    box = bounding_box(mask, [int(np.ceil(REACH_MM / s)) for s in spacing])
    near[box] = ndimage.distance_transform_edt(~mask[box], sampling=spacing) <= REACH_MM
    return near
