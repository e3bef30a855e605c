"""How training patches come to differ from the cases they are cut from: voxels, post-filters, doses, count levels.

A case costs seconds of simulation; these cost nothing, and each is what another scan would have looked like.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from MAPDiffLib.errors import InputError
from MAPDiffLib.scan.geometry import FWHM_PER_SIGMA
from training.simulate.scanner import discrete_gaussian

FINEST_ZOOM, COARSEST_ZOOM = 2.4, 0.8  # 4 mm voxels to 1.7 mm; 4.4 mm voxels to 5.5 mm
WIDEST_FILTER_MM = 6.0
FEWEST_COUNTS = 0.25


@dataclass(frozen=True)
class Variety:
    """Shares of the patches. InputError for one outside [0, 1].

    zoomed: on finer or coarser voxels. A point spread and its noise are smooth on the scale of a voxel.
    between: of a dose between two input doses.
    filtered: through a further post-filter. It is linear and comes last in a reconstruction: a wider one is one more.
    weaker: of a scanner with fewer counts, whose full dose is as noisy as a lower dose of the case. Without them a
    network takes the dose for the noise, and leaves noise in the scans of scanners that have more of it at that dose.
    """

    zoomed: float = 0.0
    between: float = 0.0
    filtered: float = 0.0
    weaker: float = 0.0

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

    def counts(self, rng: np.random.Generator, least: float) -> float:
        """The counts of full dose over the case's own: 1, or from FEWEST_COUNTS (but at least `least`) on."""
        least = min(1.0, max(FEWEST_COUNTS, least))
        return math.exp(rng.uniform(math.log(least), 0.0)) if rng.random() < self.weaker else 1.0

    def filter_sigmas(self, rng: np.random.Generator, spacing_mm: Sequence[float]) -> tuple[float, float, float] | None:
        """Standard deviations (z, y, x) in voxels of a post-filter of up to WIDEST_FILTER_MM, axially and in plane."""
        if rng.random() >= self.filtered:
            return None
        axial, plane = rng.uniform(0, WIDEST_FILTER_MM, 2)
        return tuple(
            width / FWHM_PER_SIGMA / spacing
            for width, spacing in zip((axial, plane, plane), reversed(spacing_mm), strict=True)
        )


def nested_shares(low: float, dose: float, high: float) -> tuple[float, float]:
    """The weights of two nested scans, of doses low <= high, that make one with the noise of `dose` between them.

    With a of the low dose and 1 - a of the counts that only the high dose has, the variance is a^2 / low + (1 - a)^2 /
    (high - low), and the covariance with any higher dose is that dose's own variance, as of a scan nested in it. (The
    closed-form mix is not a scan: it has less noise than its dose.)
    """
    if low == high:
        return 1.0, 0.0
    rest = high - low
    first, second = 1 / low + 1 / rest, 1 / rest
    a = (second + math.sqrt(max(0.0, second**2 - first * (second - 1 / dose)))) / first
    return a - (1 - a) * low / rest, (1 - a) * high / rest


def post_filter(images: torch.Tensor, sigmas: Sequence[float]) -> torch.Tensor:
    """Gaussian blur of images [c, z, y, x], float32, by `sigmas` (z, y, x) in voxels; the border goes on outwards."""
    images = images[:, None]
    for axis, sigma in enumerate(sigmas):
        kernel = torch.from_numpy(discrete_gaussian(sigma)).to(images)
        shape, reach = [1, 1, 1], [0] * 6
        shape[axis], reach[4 - 2 * axis], reach[5 - 2 * axis] = len(kernel), len(kernel) // 2, len(kernel) // 2
        images = functional.conv3d(functional.pad(images, reach, mode="replicate"), kernel.reshape(1, 1, *shape))
    return images[:, 0]
