"""The working grid: the scan's own where noise is as in training, thicker slices where it is long, and back again."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from MAPDiffLib.job import RestoreOptions
from MAPDiffLib.model.bundle import load_bundle
from MAPDiffLib.restoration.noise import Noise
from MAPDiffLib.restoration.restore import restore
from MAPDiffLib.restoration.working_grid import LENGTH, WorkingGrid, resampled
from MAPDiffLib.scan.volume import Volume
from Testing.tiny import tiny_bundle

LONG = Noise(0.1, 8.8, 12.5)  # on voxels of 5 x 5 x 2.5 mm: 3.5 slices long, 2.5 voxels wide
THIN = (5.0, 5.0, 2.5)


def ball(shape, spacing_mm, fwhm_mm=14.0):
    """A Gaussian blob of SUV 1 on a background of 0.2, as smooth as scans are."""
    axes = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, reversed(spacing_mm), strict=True)]
    square = sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij"))
    return torch.from_numpy((0.2 + np.exp(-4 * np.log(2) * square / fwhm_mm**2)).astype(np.float32))


def test_noise_as_in_training_leaves_the_scans_own_grid_and_every_number():
    for noise, spacing_mm in ((Noise(0.3, 6.0, 8.5), (4.2, 4.2, 4.2)), (Noise(0.3, 6.0, 6.6), (1.65, 1.65, 1.65))):
        grid = WorkingGrid.of((41, 30, 30), spacing_mm, noise, stride=8)
        image = torch.rand(41, 30, 30)
        assert grid.spacing_mm(spacing_mm) == spacing_mm and grid.slices == 41
        assert grid.to_working(image).shape == (48, 32, 32)
        assert torch.equal(grid.from_working(grid.to_working(image)), image)


def test_long_noise_is_on_the_working_slices_as_long_as_usual():
    grid = WorkingGrid.of((100, 60, 60), THIN, LONG, stride=8)
    spacing_mm = grid.spacing_mm(THIN)
    assert spacing_mm[:2] == THIN[:2] and LONG.axial_mm / spacing_mm[2] == pytest.approx(LENGTH, rel=0.01)
    assert grid.slices == 62 and all(n % 8 == 0 for n in grid.to_working(torch.rand(100, 60, 60)).shape)
    hardly = Noise(0.1, 1.1 * LENGTH * 2.5, 12.5)
    assert WorkingGrid.of((100, 60, 60), THIN, hardly, stride=8).slices == 100
    assert WorkingGrid.of((1, 60, 60), THIN, LONG, stride=8).slices == 1


def test_a_smooth_image_comes_back_within_a_percent_and_keeps_its_activity():
    shape = (90, 40, 40)
    grid = WorkingGrid.of(shape, THIN, LONG, stride=8)
    image = ball(shape, THIN)
    back = grid.from_working(grid.to_working(image))
    assert back.shape == image.shape and (back - image).abs().max() < 0.01
    assert float(back.sum()) == pytest.approx(float(image.sum()), rel=1e-3)


def test_beside_a_hot_edge_nothing_goes_below_what_the_image_holds():
    image = torch.full((60, 20, 20), 0.1)
    image[20:40, 5:15, 5:15] = 50.0
    seen = resampled(image, (37, 20, 20))
    assert seen.min() >= 0.1 - 1e-6 and resampled(seen, (60, 20, 20)).min() >= 0.1 - 1e-6


def test_a_mask_keeps_its_place_and_size():
    mask = torch.zeros(100, 24, 24, dtype=torch.bool)
    mask[20:80, 5:20, 5:20] = True
    grid = WorkingGrid.of(mask.shape, THIN, LONG, stride=8)
    coarse = grid.frame.unpad(grid.mask_to_working(mask))
    assert coarse[14:48, 5:20, 5:20].all() and not coarse[:, :5].any()
    assert int(coarse.sum()) / (15 * 15) == pytest.approx(60 * grid.slices / 100, abs=1.5)


def test_a_restoration_of_long_noise_keeps_the_scans_grid_and_says_where_the_network_worked(tmp_path, monkeypatch):
    bundle = load_bundle(tiny_bundle(tmp_path / "tiny"))
    scan = Volume(ball((48, 40, 40), THIN, 90.0).numpy(), THIN)
    seen = []
    network = type(bundle.network)
    forward = network.forward
    monkeypatch.setattr(network, "forward", lambda self, x, *rest: seen.append(x.shape) or forward(self, x, *rest))
    for noise, slices in ((LONG, 30), (Noise(0.1, 5.0, 12.5), 48)):
        monkeypatch.setattr("MAPDiffLib.restoration.facts.measure_noise", lambda *_, noise=noise: noise)
        restoration = restore(scan, bundle, RestoreOptions(doses=(1.0,), input_dose=0.05, guard="off"))
        (restored,) = restoration
        assert restored.volume.voxels.shape == scan.voxels.shape and restored.volume.spacing_mm == THIN
        assert restoration.uncertainty.voxels.shape == scan.voxels.shape
        assert restoration.report["working_spacing_mm"][2] == pytest.approx(2.5 * 48 / slices, rel=0.05)
    assert len({shape[2] for shape in seen}) == 2  # thicker slices are fewer
