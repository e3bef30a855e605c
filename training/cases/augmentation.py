"""How training patches come to differ from the cases they are cut from: voxels, post-filters, doses.

A case costs seconds of simulation; these cost nothing, and each is what another scan would have looked like.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from scipy import ndimage

from MAPDiffLib.errors import InputError
from MAPDiffLib.restoration.along_axis import along
from MAPDiffLib.scan.geometry import FWHM_PER_SIGMA
from training.simulate.scanner import discrete_gaussian

FINEST_ZOOM, COARSEST_ZOOM = 2.4, 0.8  # 4 mm voxels to 1.7 mm; 4.4 mm voxels to 5.5 mm
LOUDEST = 3.0  # times the noise that a post-filter has left: about what the widest of them takes away
# Widths of the further post-filters, (axial, in plane); the noise behind each is measured on the whole case.
FILTERS_MM = ((0.0, 0.0), (4.0, 4.0), (6.0, 6.0), (8.0, 8.0), (0.0, 5.0), (5.0, 0.0), (4.0, 7.0))


@dataclass(frozen=True)
class Variety:
    """Shares of the patches, and how far what is told may be off. InputError for one outside [0, 1].

    zoomed: on finer or coarser voxels. A point spread and its noise are smooth on the scale of a voxel.
    between: of a dose between two input doses.
    filtered: through a further post-filter. It is linear and comes last in a reconstruction: a wider one is one more.
    louder: of those, with more noise than the filter has left: else wide noise would always be faint.
    misread: standard deviation of the logarithm of the level told over that measured. One number says less of a scan
    whose noise differs more from place to place than training's: a network that doubts it looks at the patch too.
    """

    zoomed: float = 0.25
    between: float = 0.5
    filtered: float = 0.5
    louder: float = 0.0
    misread: float = 0.0

    def __post_init__(self):
        for name, share in vars(self).items():
            if not 0 <= share <= 1:
                raise InputError(f"{name} is {share}; 0 to 1 is needed")

    def zoom(self, rng: np.random.Generator) -> float:
        """How many voxels one voxel becomes along each axis."""
        return rng.uniform(COARSEST_ZOOM, FINEST_ZOOM) if rng.random() < self.zoomed else 1.0

    def dose(self, rng: np.random.Generator, dose: float, input_doses: Sequence[float]) -> float:
        """`dose`, or one between it and the next of the input doses: evenly in the logarithm."""
        higher = [other for other in input_doses if other > dose]
        if not higher or rng.random() >= self.between:
            return dose
        return math.exp(rng.uniform(math.log(dose), math.log(min(higher))))

    def gain(self, rng: np.random.Generator, filtered: int) -> float:
        """What the noise behind a post-filter is multiplied by."""
        return LOUDEST ** rng.random() if filtered and rng.random() < self.louder else 1.0

    def told(self, rng: np.random.Generator, level: float) -> float:
        """What is told of a measured level."""
        return level * math.exp(self.misread * rng.standard_normal())

    def filter(self, rng: np.random.Generator) -> int:
        """The number of a post-filter in FILTERS_MM; 0 is none."""
        return int(rng.integers(1, len(FILTERS_MM))) if rng.random() < self.filtered else 0


AS_THEY_ARE = Variety(zoomed=0.0, between=0.0, filtered=0.0)


def filter_sigmas(filter_mm: Sequence[float], spacing_mm: Sequence[float]) -> tuple[float, float, float]:
    """Standard deviations (z, y, x) in voxels of a post-filter of (axial, in-plane) FWHM."""
    axial, plane = filter_mm
    widths = zip((axial, plane, plane), reversed(spacing_mm), strict=True)
    return tuple(width / FWHM_PER_SIGMA / spacing for width, spacing in widths)


def nested_shares(low: float, dose: float, high: float) -> tuple[float, float]:
    """The weights of two nested scans, of doses low <= high, that make one with the noise of `dose` between them.

    With a of the low dose and 1 - a of the counts that only the high dose has, the variance is a^2 / low + (1 - a)^2 /
    (high - low), and the covariance with any higher dose is that dose's own variance, as of a scan nested in it. (The
    inverse-dose interpolation is not a scan: it has less noise than its dose.)
    """
    if low == high:
        return 1.0, 0.0
    rest = high - low
    first, second = 1 / low + 1 / rest, 1 / rest
    a = (second + math.sqrt(max(0.0, second**2 - first * (second - 1 / dose)))) / first
    return a - (1 - a) * low / rest, (1 - a) * high / rest


def post_filter(images: torch.Tensor, sigmas: Sequence[float]) -> torch.Tensor:
    """Gaussian blur of images [c, z, y, x], float32, by `sigmas` (z, y, x) in voxels; the border goes on outwards."""
    for axis, sigma in enumerate(sigmas, start=1):
        if sigma:
            images = along(images, axis, _blur(images.shape[axis], sigma))
    return images.contiguous()


@lru_cache(maxsize=256)
def _blur(length: int, sigma: float) -> np.ndarray:
    every = np.eye(length)
    return ndimage.correlate1d(every, discrete_gaussian(sigma), axis=0, mode="nearest").astype(np.float32)
