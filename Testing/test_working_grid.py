"""The working grid: the scan's own where the noise is as in training, coarser where it is wider, and back again."""

import numpy as np
import pytest
import torch

from MAPDiffLib.restoration.working_grid import WorkingGrid, wanted_voxels

NOISE_VOXELS = (1.7, 2.2)


def ball(shape, spacing_mm, fwhm_mm=14.0):
    """A Gaussian blob of SUV 1 on a background of 0.2, as smooth as scans are."""
    axes = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, reversed(spacing_mm), strict=True)]
    square = sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij"))
    return torch.from_numpy((0.2 + np.exp(-4 * np.log(2) * square / fwhm_mm**2)).astype(np.float32))


def test_noise_as_in_training_leaves_the_scans_own_grid_and_every_number():
    wanted = wanted_voxels((6.0, 9.0, 8.0), NOISE_VOXELS, coarsest_mm=4.7)
    grid = WorkingGrid.of((41, 30, 30), (4.2, 4.2, 4.2), wanted, stride=8)
    image = torch.rand(41, 30, 30)
    assert grid.spacing_mm((4.2, 4.2, 4.2)) == (4.2, 4.2, 4.2)
    assert grid.to_working(image).shape == (48, 32, 32)
    assert torch.equal(grid.from_working(grid.to_working(image)), image)


def test_wider_noise_asks_for_voxels_on_which_it_is_as_wide_as_in_training():
    assert wanted_voxels((6.8, 8.8, 6.6), NOISE_VOXELS, coarsest_mm=4.7) == pytest.approx((4.0, 3.0, 3.0))
    grid = WorkingGrid.of((100, 60, 60), (2.0, 2.0, 2.5), (4.0, 3.0, 3.0), stride=8)
    assert grid.working == (62, 40, 40)
    assert grid.spacing_mm((2.0, 2.0, 2.5)) == pytest.approx((3.0, 3.0, 4.03), abs=0.01)
    assert all(n % 8 == 0 for n in grid.to_working(torch.rand(100, 60, 60)).shape)


def test_the_grid_is_never_coarser_than_training_nor_finer_than_the_scan_and_unknown_noise_changes_nothing():
    assert wanted_voxels((30.0, 40.0, 50.0), NOISE_VOXELS, coarsest_mm=4.7) == (4.7, 4.7, 4.7)
    for unknown in (None, (float("nan"),) * 3):
        assert wanted_voxels(unknown, NOISE_VOXELS, 4.7) == (0.0, 0.0, 0.0)
    assert wanted_voxels((30.0, 40.0, 50.0), None, 4.7) == (0.0, 0.0, 0.0)
    for wanted in ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (4.5, 4.5, 4.5)):  # the last is hardly coarser
        assert WorkingGrid.of((20, 20, 20), (4.0, 4.0, 4.0), wanted, stride=8).working == (20, 20, 20)


def test_a_smooth_image_comes_back_within_a_percent_and_keeps_its_activity():
    shape, spacing_mm = (90, 70, 70), (2.0, 2.0, 2.0)
    grid = WorkingGrid.of(shape, spacing_mm, (4.0, 3.5, 3.5), stride=8)
    image = ball(shape, spacing_mm)
    back = grid.from_working(grid.to_working(image))
    assert back.shape == image.shape
    assert (back - image).abs().max() < 0.01
    assert float(back.sum()) == pytest.approx(float(image.sum()), rel=1e-3)


def test_beside_a_hot_edge_nothing_goes_below_what_the_image_holds():
    image = torch.full((60, 60, 60), 0.1)
    image[20:40, 20:40, 20:40] = 50.0
    grid = WorkingGrid.of((60, 60, 60), (2.0, 2.0, 2.0), (4.0, 4.0, 4.0), stride=8)
    seen = grid.frame.unpad(grid.to_working(image))
    assert seen.min() >= 0.1 - 1e-6
    assert grid.from_working(grid.frame.pad(seen)).min() >= 0.1 - 1e-6


def test_a_mask_keeps_its_place_and_size():
    mask = torch.zeros(60, 50, 50, dtype=torch.bool)
    mask[10:50, 10:40, 10:40] = True
    grid = WorkingGrid.of((60, 50, 50), (2.0, 2.0, 2.0), (4.0, 4.0, 4.0), stride=8)
    coarse = grid.frame.unpad(grid.mask_to_working(mask))
    assert coarse[5:25, 5:20, 5:20].all()
    assert int(coarse.sum()) == 20 * 15 * 15
