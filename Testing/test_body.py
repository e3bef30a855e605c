"""The body is found from activity alone, whatever the unit and the dose."""

import numpy as np
import pytest
from scipy import ndimage

from MAPDiffLib.scan.body import body_mask

SPACING_MM = (4.0, 4.0, 3.0)


def phantom():
    """A body of 320 x 200 mm with two cold lungs, a hot bladder and two arms; returns activity and the body's mask."""
    axes = [(np.arange(count) - count / 2) * step_mm for count, step_mm in ((90, 3), (80, 4), (128, 4))]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    trunk = (x / 160) ** 2 + (y / 100) ** 2 < 1
    arms = ((np.abs(x) - 215) / 35) ** 2 + (y / 35) ** 2 < 1
    lungs = ((np.abs(x) - 70) / 45) ** 2 + (y / 60) ** 2 + ((z - 40) / 70) ** 2 < 1
    bladder = x**2 + y**2 + (z + 90) ** 2 < 30**2
    activity = trunk * 1.0 + arms * 0.7
    activity[lungs] = 0.05
    activity[bladder] = 40.0
    return activity.astype(np.float32), trunk | arms


def scan(activity, counts_a_voxel, seed=0):
    """Poisson counts of the activity with some background in the air, smoothed as a reconstruction is."""
    counts = np.random.default_rng(seed).poisson((activity + 0.02) * counts_a_voxel) / counts_a_voxel
    return ndimage.gaussian_filter(counts.astype(np.float32), 0.6)


def dice(a, b):
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


@pytest.mark.parametrize("counts_a_voxel", [100.0, 1.0, 0.3])
def test_body_lungs_and_arms_are_found_at_high_and_low_counts(counts_a_voxel):
    activity, truth = phantom()
    mask = body_mask(scan(activity, counts_a_voxel), SPACING_MM)
    assert mask.shape == truth.shape and mask.dtype == bool
    assert dice(mask, truth) > 0.95
    assert mask[65, 40, 64 + 18], "the lung is inside"
    assert mask[45, 40, 64 + 54], "the arm is inside"


def test_the_mask_does_not_depend_on_the_unit():
    image = scan(phantom()[0], 1.0)
    assert np.array_equal(body_mask(image, SPACING_MM), body_mask(image * 1000, SPACING_MM))
    assert np.array_equal(body_mask(image, SPACING_MM), body_mask(image / 1024, SPACING_MM))


def test_a_finer_grid_gives_the_same_body():
    activity, truth = phantom()
    fine = activity[20:60].repeat(3, axis=0).repeat(3, axis=1).repeat(3, axis=2)[:-1, :-1, :-2]
    mask = body_mask(fine, (4 / 3, 4 / 3, 1.0))
    truth = truth[20:60].repeat(3, axis=0).repeat(3, axis=1).repeat(3, axis=2)[:-1, :-1, :-2]
    assert mask.shape == truth.shape and dice(mask, truth) > 0.95


def test_nothing_but_zeros_has_no_body():
    assert not body_mask(np.zeros((8, 9, 10), np.float32), SPACING_MM).any()
