"""Gaussian means, and how large the noise is at every place of a scan, read off what a restoration took away.

Noise of iterative reconstructions goes with a power of activity between its root (counting alone) and itself (the
logarithm of an image is then equally noisy everywhere); the power, and a factor that varies slowly with depth and from
bed to bed, are read off the scan.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from MAPDiffLib.restoration.along_axis import along
from MAPDiffLib.scan.geometry import sigma_voxels

NOISE_MM = 60.0  # FWHM over which noise is alike but for activity
CLIP = 3.0  # deviations; what lies beyond is no noise
CLIPPED_VARIANCE = 0.9751  # of a unit Gaussian held within CLIP
MAD = 1.4826  # standard deviation of a Gaussian in its median absolute deviations
SMOOTH_MM, COLD = 12.0, 0.05  # activity that noise depends on: means this wide, no less than this share of the body's
LEAST_VOXELS = 500  # of one activity, for its noise to count in the power
ENOUGH_VOXELS = 200_000  # of a body, for medians: of more, every second, third, ... is taken
FEWEST = 50  # of one activity that are left then
STEPS = 12  # of activity, between its 1st and its last thousandth
ROWS = 32  # of a banded matrix at a time: fewer are slower to begin than to multiply, more multiply zeros


def gaussian_mean(image: torch.Tensor, fwhm_mm: float, spacing_mm: Sequence[float]) -> torch.Tensor:
    """The image [z, y, x], zero outside, behind a Gaussian of `fwhm_mm`; spacing (x, y, z), device and dtype kept.

    A wide one is computed on a coarse grid, block means first, so that its cost does not grow with its width.
    """
    sigma = sigma_voxels(fwhm_mm, spacing_mm)
    factors = [max(1, int(s / 2)) for s in sigma]
    if max(factors) == 1:
        return _filtered(image, sigma)
    missing = [-n % f for n, f in zip(image.shape, factors, strict=True)]
    padded = functional.pad(image, [part for n in reversed(missing) for part in (0, n)])
    blocks = [part for n, f in zip(padded.shape, factors, strict=True) for part in (n // f, f)]
    coarse = _filtered(padded.reshape(blocks).mean(dim=(1, 3, 5)), [s / f for s, f in zip(sigma, factors, strict=True)])
    # Sampled at the fine voxels' centres, held at the ends.
    fine = functional.interpolate(coarse[None, None], size=tuple(padded.shape), mode="trilinear")[0, 0]
    return fine[tuple(slice(0, n) for n in image.shape)]


def _filtered(image: torch.Tensor, sigma: Sequence[float]) -> torch.Tensor:
    """Along each axis a product with a banded matrix: faster than scipy's filter, and where the image is."""
    for axis, (n, width) in enumerate(zip(image.shape, sigma, strict=True)):
        weights, reach = _gaussian_matrix(n, width)
        weights, filtered = weights.to(image), torch.empty_like(image)
        for first in range(0, n, ROWS):  # beyond its band a matrix is zero
            last = min(first + ROWS, n)
            start, end = max(0, first - reach), min(last + reach, n)
            part = along(image.narrow(axis, start, end - start), axis, weights[first:last, start:end])
            filtered.narrow(axis, first, last - first).copy_(part)
        image = filtered
    return image


def _gaussian_matrix(n: int, sigma: float) -> tuple[torch.Tensor, int]:
    """(the weights [n, n] of a Gaussian of `sigma` voxels, zero outside, and how many voxels it reaches: it is cut off
    at four sigma, as scipy's)."""
    away = torch.arange(n)[:, None] - torch.arange(n)
    reach = int(4 * sigma + 0.5)
    whole = torch.exp(-0.5 * (torch.arange(-reach, reach + 1).double() / sigma).square()).sum()
    near = torch.exp(-0.5 * (away.double() / sigma).square())
    return torch.where(away.abs() <= reach, near, 0.0) / whole, reach


def mean_in_body(image: torch.Tensor, body: torch.Tensor, fwhm_mm: float, spacing_mm: Sequence[float]) -> torch.Tensor:
    """The mean over the part of a Gaussian of `fwhm_mm` that lies in `body`; at least a twentieth of it counts."""
    weight = gaussian_mean(body.to(image.dtype), fwhm_mm, spacing_mm).clamp_(min=0.05)
    return gaussian_mean(image * body, fwhm_mm, spacing_mm).div_(weight)


def smooth_activity(image: torch.Tensor, body: torch.Tensor, spacing_mm: Sequence[float]) -> torch.Tensor:
    """What noise depends on: the local mean of an image in units of its mean in the body, positive everywhere."""
    level = float((image * body).sum(dtype=torch.float64) / body.sum())
    return mean_in_body(image, body, SMOOTH_MM, spacing_mm).div_(level).clamp_(min=COLD)


def noise_deviation(
    values: torch.Tensor, activity: torch.Tensor, body: torch.Tensor, spacing_mm: Sequence[float]
) -> torch.Tensor:
    """The standard deviation, at every voxel, of values [z, y, x] that scatter around zero inside `body`.

    activity: positive, what the values' noise is a power of. Robust: beyond three deviations of the whole body a value
    counts as three, so that a lesion is not taken for noise. Positive everywhere.
    """
    some, thinned = _some_voxels(body)
    of_some, at = (image.flatten()[some] for image in (values, activity))
    power = activity_power(of_some, at, max(FEWEST, LEAST_VOXELS / thinned))
    overall = MAD * float((of_some / at**power).abs().median()) if len(some) else 0.0
    powers = activity**power
    scaled = values / powers
    held = CLIP * max(overall, 1e-6)
    squares = scaled.clamp_(-held, held).square_().mul_(body)
    weight = gaussian_mean(body.to(values.dtype), NOISE_MM, spacing_mm).clamp_(min=1e-3)
    local = gaussian_mean(squares, NOISE_MM, spacing_mm).div_(weight).div_(CLIPPED_VARIANCE).sqrt_()
    return local.clamp_(min=max(0.3 * overall, 1e-6)).mul_(powers)


def _some_voxels(body: torch.Tensor) -> tuple[torch.Tensor, int]:
    """(the numbers of evenly chosen voxels of the body, of how many each is one)."""
    every = body.flatten().nonzero()[:, 0]
    thinned = max(1, len(every) // ENOUGH_VOXELS)
    return every[::thinned], thinned


def activity_power(values: torch.Tensor, activity: torch.Tensor, least: float = LEAST_VOXELS) -> float:
    """p of values ~ activity^p times noise, from their spread at each activity that `least` have; both [n]. 0 where it
    cannot be told."""
    values, logs = np.asarray(values.cpu()), np.log(np.asarray(activity.cpu()))
    if not len(logs):
        return 0.0
    low, high = np.quantile(logs, [0.01, 0.999])
    step = np.clip(np.floor((logs - low) / max(high - low, 1e-6) * STEPS), 0, STEPS - 1)
    spreads = []
    for number in range(STEPS):
        chosen = step == number
        if np.count_nonzero(chosen) >= least and (spread := np.median(np.abs(values[chosen]))) > 0:
            spreads.append((logs[chosen].mean(), np.log(spread)))
    if len(spreads) < 2:
        return 0.0
    return float(np.clip(np.polyfit(*np.transpose(spreads), 1)[0], -1, 1))
