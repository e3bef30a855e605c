"""The simulated body: smooth fields, fine structure, painted shapes, and the phantom made of them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from MAPDiffLib.scan.volume import body_mask
from training.simulate.flesh import paint_fine_structure
from training.simulate.lesions import LesionPlan
from training.simulate.phantom import make_phantom
from training.simulate.shapes import Canvas, Grid, SmoothField, curve, smooth_field
from training.simulate.tissues import Tissue


def test_smooth_fields_have_unit_variance_and_their_scale():
    field = smooth_field(np.random.default_rng(0), Grid((64, 64, 64), (4.0, 4.0, 4.0)), 16.0)
    assert field.std() == pytest.approx(1.0, abs=0.1)
    assert np.corrcoef(field[:-1].ravel(), field[1:].ravel())[0, 1] > 0.9  # 4 mm apart
    assert abs(np.corrcoef(field[:-20].ravel(), field[20:].ravel())[0, 1]) < 0.15  # 80 mm apart


def test_a_box_of_a_smooth_field_is_a_part_of_the_whole_and_each_axis_has_its_scale():
    field = SmoothField(np.random.default_rng(1), Grid((60, 48, 40), (2.0, 2.0, 2.0)), (8.0, 8.0, 40.0))
    whole = field[:, :, :]
    box = (slice(7, 31), slice(0, 20), slice(11, 40))
    assert np.allclose(field[box], whole[box], atol=1e-5)
    along_z, along_x = (np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in _neighbours_at(whole, 4))
    assert along_z > 0.9 and along_x < 0.6  # 8 mm apart: a fifth of a step, and a whole one


def _neighbours_at(volume, lag):
    return (volume[:-lag], volume[lag:]), (volume[..., :-lag], volume[..., lag:])


def test_sheets_and_tubes_of_smooth_fields_are_as_thick_as_documented():
    grid, step, c = Grid((96, 96, 96), (1.0, 1.0, 1.0)), 16.0, 0.2
    a, b = (smooth_field(np.random.default_rng(seed), grid, step) for seed in (0, 1))
    surface = sum(np.count_nonzero(np.diff(a > 0, axis=axis)) for axis in range(3)) / 1.5  # faces to a smooth surface
    assert np.count_nonzero(np.abs(a) < c) / surface == pytest.approx(c * step, rel=0.15)
    length = 1.391 / (np.pi * step**2) * a.size  # of the lines where two Gaussian fields are both zero (Rice)
    radius = (np.count_nonzero(a * a + b * b < c * c) / (np.pi * length)) ** 0.5
    assert radius == pytest.approx(0.6 * c * step, rel=0.15)


def test_fine_structure_is_coherent_not_speckle_and_leaves_organs_alone():
    canvas = Canvas(np.random.default_rng(0), Grid((64, 96, 96), (2.0, 2.0, 2.0)), (1.0, 1.0, 1.0), 0.0, bend_mm=0.0)
    canvas.labels[:, 5:50], canvas.labels[:, 50:80], canvas.labels[:, 80:90] = Tissue.MUSCLE, Tissue.FAT, Tissue.LIVER
    before = canvas.labels.copy()
    paint_fine_structure(canvas, np.random.default_rng(3))
    for whole in (Tissue.AIR, Tissue.LIVER):
        assert np.array_equal(canvas.labels == whole, before == whole)
    muscle, fat = canvas.labels[:, 5:50], canvas.labels[:, 50:80]
    for part, tissue, least, most in (
        (muscle, Tissue.FASCIA, 0.1, 0.3),
        (muscle, Tissue.RED_MUSCLE, 0.2, 0.7),
        (fat, Tissue.SEPTUM, 0.05, 0.15),
        (fat, Tissue.VESSEL, 0.01, 0.06),
    ):
        assert least < (part == tissue).mean() < most, tissue.name
    planes, _ = ndimage.label(muscle == Tissue.FASCIA)
    assert np.bincount(planes.ravel())[1:].max() > 0.8 * np.count_nonzero(planes)


def test_a_curve_passes_through_its_ends_and_points():
    line = curve([(0, 0, 0), (10, 0, 0), (10, 10, 0)], 5)
    assert np.allclose(line[[0, 2, 4]], [(0, 0, 0), (10, 0, 0), (10, 10, 0)], atol=1e-6)


def test_painted_shapes_have_their_volume():
    canvas = Canvas(np.random.default_rng(0), Grid((50, 50, 50), (2.0, 2.0, 2.0)), (1.0, 1.0, 1.0), 0.0, bend_mm=0.0)
    canvas.ellipsoid(Tissue.LIVER, (0, 0, 50), (20, 15, 30))
    canvas.tube(Tissue.BLOOD, [(-30, -30, 20), (-30, -30, 80)], 8.0)
    voxels = np.bincount(canvas.labels.ravel(), minlength=256)
    assert 8 * voxels[Tissue.LIVER] == pytest.approx(4 / 3 * np.pi * 20 * 15 * 30, rel=0.03)
    assert 8 * voxels[Tissue.BLOOD] == pytest.approx(np.pi * 64 * 60 + 4 / 3 * np.pi * 512, rel=0.05)


def test_a_phantom_has_its_organs_its_statistics_and_only_depends_on_the_seed():
    grid = Grid((72, 40, 40), (13.0, 13.0, 14.5))
    first, again, other = (make_phantom(seed, grid) for seed in (3, 3, 4))
    body = body_mask(first.activity, grid.spacing_mm)
    assert 0.8 < first.activity[body].mean() < 0.89
    organs = {Tissue.LIVER, Tissue.LUNG, Tissue.BLADDER, Tissue.GREY_MATTER, Tissue.SPLEEN}
    assert organs <= set(np.unique(first.labels))
    assert np.array_equal(first.activity, again.activity)
    assert not np.array_equal(first.labels, other.labels)
    assert len(first.lesions) <= 12
    ill = make_phantom(3, grid, LesionPlan((30, 32)))
    assert 20 <= len(ill.lesions) <= 32  # an organ that this coarse grid lost cannot have any
    assert 0.8 < ill.activity[body].mean() < 0.89
