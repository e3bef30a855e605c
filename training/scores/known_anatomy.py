"""Which lesions an observer finds who knows the anatomy: how much of them the counts of a scan hold.

He knows what the scan would be without noise and without its lesions, and how large its noise is everywhere, and reads
off the scan where it is hotter than that by more than its noise explains. No restoration knows the anatomy: what he
takes for noise at one false positive a volume, none can be asked to show. He is no strict bound: his templates are
Gaussians, not the lesions' own shapes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from MAPDiffLib.restoration.local_noise import COLD, gaussian_mean, noise_deviation, smooth_activity
from training.scores.contrast import LesionSite
from training.scores.free_response import FreeResponse, candidates, near_lesion

WIDTHS_MM = (6.0, 9.0, 13.0)  # FWHM of the templates: for lesions of about 6 to 20 mm


def known_anatomy_response(
    scan: np.ndarray,
    noise_free: np.ndarray,
    lesions: Sequence[np.ndarray],
    sites: Sequence[LesionSite],
    body: np.ndarray,
    spacing_mm: Sequence[float],
) -> FreeResponse:
    """His score at each lesion and the false positives': evidence in standard deviations of noise.

    Images and masks [z, y, x]; `sites` are those of `lesions`, in the same order; spacing (x, y, z).
    """
    near = [near_lesion(mask, spacing_mm) for mask in lesions]
    near_any = np.any([np.zeros_like(body), *near], axis=0)
    evidence = _evidence(scan, _without(noise_free, near, sites), body, near_any, spacing_mm)
    peaks = body & candidates(evidence, spacing_mm)
    found = [float(evidence[each & peaks].max(initial=0.0)) for each in near]
    return FreeResponse.of(found, evidence[peaks & ~near_any])


def _without(noise_free: np.ndarray, near: Sequence[np.ndarray], sites: Sequence[LesionSite]) -> np.ndarray:
    """The noise-free image with no lesion hotter than its surroundings."""
    image = noise_free.copy()
    for where, site in zip(near, sites, strict=True):
        if site.ring.any():
            image[where] = np.minimum(image[where], noise_free[site.box][site.ring].mean(dtype=float))
    return image


def _evidence(
    scan: np.ndarray, expected: np.ndarray, body: np.ndarray, lesions: np.ndarray, spacing_mm: Sequence[float]
) -> np.ndarray:
    """How far means of the scan are over the expected ones, in deviations of what noise does to them away from
    `lesions`; of the template that says most; [z, y, x]."""
    inside, away = (torch.from_numpy(mask) for mask in (body, body & ~lesions))
    images = [torch.from_numpy(np.where(body, image, 0).astype(np.float32)) for image in (scan, expected)]
    activity, floor = smooth_activity(images[1], inside, spacing_mm), COLD * float(images[1][inside].mean())
    best = torch.full_like(images[0], -torch.inf)
    for width in WIDTHS_MM:
        means = [gaussian_mean(image, width, spacing_mm) + floor for image in images]
        ratio = torch.log(means[0] / means[1]) * inside  # noise of iterative reconstructions is even in the logarithm
        ratio -= ratio[away].median()
        best = torch.maximum(best, ratio / noise_deviation(ratio * away, activity, away, spacing_mm))
    return best.numpy()
