"""Places where a restoration may have lost something, and how likely each is.

In a body's tens of thousands of places noise reaches any z (consistency.py) somewhere, so z alone does not tell a lost
lesion from it. What the restored image looks like there says more: a faint hot spot of which too little is left, an
even organ, an edge. A small network that was fitted on validation cases weighs it all (model/loss_odds.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy import ndimage
from scipy.special import expit

from MAPDiffLib.model.loss_odds import AWAY_MM, LossOdds
from MAPDiffLib.restoration.consistency import FLOOR, WIDTH_MM, Consistency
from MAPDiffLib.scan.volume import Volume

LEAST_Z, NEAR_MM = 2.0, 6.0  # of a peak; none within so far along each axis is higher
APART_MM = 20.0  # between two places in a list
MOST_PLACES = 8  # in a list: at more nobody looks, and the first of them are the likeliest
DIRECTIONS = np.array([d / np.linalg.norm(d) for d in product((-1, 0, 1), repeat=3) if any(d)])  # [26, 3]


@dataclass(frozen=True)
class Peak:
    """A voxel (z, y, x) where the scan holds more than the restored image, its z, and the logarithm of the odds that
    something was lost there."""

    index: tuple[int, int, int]
    z: float
    log_odds: float

    @property
    def probability(self) -> float:
        """That something was lost there: as often as on the validation cases, whose bodies have many lesions."""
        return float(expit(self.log_odds))


def find_peaks(consistency: Consistency, odds: LossOdds) -> list[Peak]:
    """Where z against the restored image is highest in NEAR_MM, beyond LEAST_Z."""
    indices, features = peak_features(consistency)
    return [
        Peak(tuple(map(int, index)), float(own[0]), float(log_odds))
        for index, own, log_odds in zip(indices, features, odds.of(features), strict=True)
    ]


def peak_features(consistency: Consistency) -> tuple[np.ndarray, np.ndarray]:
    """(voxels [n, 3] of the peaks, their FEATURES (model/loss_odds.py) [n, 12], none with a unit)

    Activity is in the logarithm, of the body's mean; around a voxel it is over the voxel's own, in units of the noise.
    """
    z = consistency.z(consistency.restored).cpu().numpy()
    indices = _highest(z, [max(1, round(NEAR_MM / spacing)) for spacing in reversed(consistency.spacing_mm)])
    here, level = tuple(indices.T), consistency.level
    means, noise = (image.cpu().numpy()[here] for image in (consistency.restored_mean, consistency.deviation))
    restored = consistency.restored.cpu().numpy()
    own = np.log(restored[here].clip(min=0) / level + FLOOR)
    columns = [z[here], np.log(noise), np.log(means / level)]
    for away in AWAY_MM:
        steps = DIRECTIONS * (away / np.array(consistency.spacing_mm[::-1]))
        points = (indices[:, None] + steps).reshape(-1, 3).T
        around = ndimage.map_coordinates(restored, points, order=1, mode="nearest").reshape(-1, len(steps)) / level
        mean, hottest = (values.clip(min=0) + FLOOR for values in (around.mean(axis=1), around.max(axis=1)))
        spread = np.log1p(around.std(axis=1) / mean)
        columns += [(np.log(mean) - own) / noise, np.log(hottest / mean) / noise, spread / noise]
    return indices, np.stack(columns, axis=1)


def _highest(z: np.ndarray, reach: Sequence[int]) -> np.ndarray:
    """The voxels [n, 3] of more than LEAST_Z that none within `reach` voxels along each axis exceeds.

    From the nearest neighbours on: they leave so few that a filter over the whole image would take many times as long.
    """
    padded = np.pad(z, [(r, r) for r in reach])
    steps = sorted(product(*(range(-r, r + 1) for r in reach)), key=lambda step: sum(abs(n) for n in step))
    values, strides = padded.ravel(), np.array([padded.shape[1] * padded.shape[2], padded.shape[2], 1])
    places = np.flatnonzero(values > LEAST_Z)
    for step in np.array(steps) @ strides:
        places = places[values[places] >= values[places + step]]
    return np.transpose(np.unravel_index(places, padded.shape)) - reach


@dataclass(frozen=True)
class Place:
    """Where to look: LPS millimetres, its z, the probability that the network lost something there (both z and what was
    lost: before a guard put it back), and the mean activity there in scan and restored image (scan's units)."""

    position_mm_lps: tuple[float, float, float]
    z: float
    probability: float
    scan: float
    restored: float


def places_to_check(scan: Volume, restored: Volume, z: Volume, peaks: Iterable[Peak], threshold: float) -> list[Place]:
    """The peaks that `apart` chooses, as a reader is told of them."""
    return [
        Place(
            position_mm(scan, peak.index), float(z.voxels[peak.index]), peak.probability,
            *(_mean_around(volume, peak.index) for volume in (scan, restored)),
        )
        for peak in apart(peaks, threshold, scan.spacing_mm)
    ]  # fmt: skip


def apart(peaks: Iterable[Peak], threshold: float, spacing_mm: Sequence[float], most: int = MOST_PLACES) -> list[Peak]:
    """The peaks whose log-odds are beyond the threshold, the likeliest first, at least APART_MM from each other, at
    most `most`; spacing (x, y, z)."""
    spacing, found = np.array(spacing_mm[::-1]), []
    for peak in sorted(peaks, key=lambda peak: (-peak.log_odds, peak.index)):
        if peak.log_odds <= threshold or len(found) == most:
            break
        if all(np.linalg.norm(np.subtract(peak.index, other.index) * spacing) >= APART_MM for other in found):
            found.append(peak)
    return found


def position_mm(volume: Volume, index: Sequence[int]) -> tuple[float, float, float]:
    """The LPS position of a voxel (z, y, x) in mm."""
    steps = np.array(index[::-1], float) * volume.spacing_mm
    return tuple(float(x) for x in np.array(volume.origin_mm) + np.array(volume.direction).reshape(3, 3) @ steps)


def _mean_around(volume: Volume, index: Sequence[int]) -> float:
    """The mean over a ball as wide as the means of z."""
    reach = [int(0.5 * WIDTH_MM / spacing) for spacing in reversed(volume.spacing_mm)]
    box = tuple(slice(max(0, i - r), i + r + 1) for i, r in zip(index, reach, strict=True))
    axes = [
        (np.arange(part.start, min(part.stop, n)) - i) * s
        for part, n, i, s in zip(box, volume.voxels.shape, index, reversed(volume.spacing_mm), strict=True)
    ]
    z, y, x = np.ix_(*axes)
    return float(volume.voxels[box][z**2 + y**2 + x**2 <= (0.5 * WIDTH_MM) ** 2].mean(dtype=np.float64))
