"""The observer who knows the anatomy, on scans whose noise and lesions are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from training.scores.contrast import LesionSite
from training.scores.free_response import sensitivity
from training.scores.known_anatomy import known_anatomy_response

SPACING, SHAPE = (4.0, 4.0, 4.0), (48, 48, 48)
BODY = np.zeros(SHAPE, bool)
BODY[4:-4, 4:-4, 4:-4] = True
AT = [(12, 12, 12), (12, 34, 24), (34, 14, 30), (32, 34, 12)]


def ball(centre, radius_mm=8.0):
    grid = np.ogrid[tuple(slice(n) for n in SHAPE)]
    return sum((4.0 * (axis - c)) ** 2 for axis, c in zip(grid, centre, strict=True)) <= radius_mm**2


LESIONS = [ball(centre) for centre in AT]
SITES = [LesionSite.of(mask, np.any(LESIONS, axis=0), BODY, SPACING, 16.0) for mask in LESIONS]
# An organ that the observer knows, as hot as the lesions are.
ANATOMY = np.where(BODY, 1.0 + 4.0 * ball((24, 24, 38), 16.0), 0.0).astype(np.float32)


def scan_of(contrast: float, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(scan, what it would be without noise)."""
    expected = ANATOMY + contrast * np.any(LESIONS, axis=0)
    white = np.random.default_rng(seed).standard_normal(SHAPE)
    relative = noise * ndimage.gaussian_filter(white, 0.8) / 0.22
    return np.float32(expected * np.exp(relative)), np.float32(expected)


def response(contrast: float, noise: float, masks=LESIONS, sites=SITES):
    scan, expected = scan_of(contrast, noise)
    return known_anatomy_response(scan, expected, masks, sites, BODY, SPACING)


def test_a_lesion_that_noise_cannot_make_is_found_and_one_that_it_can_is_not():
    clear, faint = response(3.0, 0.2), response(0.15, 0.2)
    assert sensitivity([clear]) == 1.0 and min(clear.lesions) > 2 * max(clear.false)
    assert sensitivity([faint]) <= 0.25


def test_what_he_knows_of_is_no_false_positive_however_hot():
    with_organ = response(3.0, 0.2).false
    assert max(with_organ) < 6  # noise alone: some deviations, where the organ stands out by twenty
    unknown = known_anatomy_response(scan_of(3.0, 0.2)[0], np.where(BODY, 1.0, 0.0), LESIONS, SITES, BODY, SPACING)
    assert max(unknown.false) > 2 * max(with_organ)


def test_more_noise_hides_lesions_and_their_number_and_order_stay():
    quiet, loud = response(1.0, 0.1), response(1.0, 0.6)
    assert np.mean(quiet.lesions) > 2 * np.mean(loud.lesions)
    few = response(1.0, 0.1, LESIONS[:2], SITES[:2]).lesions
    assert few == pytest.approx(quiet.lesions[:2], rel=0.05) and len(quiet.lesions) == 4


def test_without_a_lesion_there_are_false_positives_alone():
    nothing = response(0.0, 0.3, [], [])
    assert nothing.lesions == [] and len(nothing.false) > 5 and sensitivity([nothing]) is None
