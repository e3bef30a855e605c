"""The simulated scanner against theory: projector, nested doses, reconstruction, noise, families of scanners."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
import torch

from training.simulate.cases import DOSES
from training.simulate.phantom import make_phantom
from training.simulate.scanner import (
    Reconstruction,
    ScannerSetup,
    acquire,
    backproject,
    blur,
    project,
    system_matrix,
    thin,
    view_angles,
)
from training.simulate.shapes import Grid


def disc(size: int, radius: float) -> np.ndarray:
    """A uniform disc of value 1 in the middle of [size, size], edges by 8 x 8 supersampling."""
    fine = (np.arange(8 * size) + 0.5) / 8 - size / 2
    inside = (fine[:, None] ** 2 + fine[None, :] ** 2 < radius**2).astype(np.float32)
    return inside.reshape(size, 8, size, 8).mean(axis=(1, 3))


def water_cylinder(size=48, slices=24, radius=18.0, voxel_mm=6.0):
    """(activity of 2 SUV, attenuation of water) in a cylinder, [z, y, x]."""
    image = np.broadcast_to(disc(size, radius), (slices, size, size))
    return np.ascontiguousarray(2 * image), np.ascontiguousarray(image * np.float32(0.0096))


def test_the_back_projection_is_the_adjoint_of_the_projection():
    rng = np.random.default_rng(0)
    matrix = system_matrix((32, 32), 4.0, view_angles(60), 5.0)
    x, y = rng.random((32 * 32, 5), dtype=np.float32), rng.random((60 * 32, 5), dtype=np.float32)
    left = np.vdot(project(matrix, x).astype(float), y)
    right = np.vdot(x.astype(float), backproject(matrix, y))
    assert left == pytest.approx(right, rel=1e-5)


def test_a_disc_projects_to_its_chord_lengths():
    matrix = system_matrix((64, 64), 4.0, view_angles(120), 4.0)
    sinogram = project(matrix, disc(64, 20.0).reshape(-1, 1)).reshape(120, 64)
    offset = np.arange(64) - 31.5
    chords = 4.0 * 2 * np.sqrt(np.maximum(20.0**2 - offset**2, 0))
    inner = np.abs(offset) < 15
    assert np.abs(sinogram[:, inner] / chords[inner] - 1).max() < 0.01
    assert np.allclose(sinogram.sum(axis=1) * 4.0, np.pi * 80.0**2, rtol=1e-3)  # each view holds the disc's area


def astra_strip_integrals(astra, size: int, voxel_mm: float, angles: np.ndarray):
    """ASTRA's own system matrix in mm, [len(angles) * bins, pixels]; its y axis points up, ours down."""
    bins = astra.create_proj_geom("parallel", 1.0, size, -angles)
    projector = astra.create_projector("strip", bins, astra.create_vol_geom(size, size))
    matrix = astra.projector.matrix(projector)
    try:
        return astra.matrix.get(matrix) * voxel_mm
    finally:
        astra.matrix.delete(matrix)
        astra.projector.delete(projector)


def test_the_projector_agrees_with_astra_s_strip_integrals():
    """Without point spread ours has a Gaussian footprint where ASTRA has the exact trapezium: 0.08 % rms of the largest
    integral. A shift by a quarter of a bin is 0.5 %, a mirrored axis or a wrong order of views 5 %."""
    astra = pytest.importorskip("astra", reason="pip install '.[projector]'", exc_type=ImportError)
    activity = make_phantom(3, Grid((16, 128, 128), (4.0, 4.0, 60.0))).activity
    image = activity.reshape(16, -1).T.astype(np.float32)
    angles = view_angles(120)
    theirs = astra_strip_integrals(astra, 128, 4.0, angles) @ image
    ours = project(system_matrix((128, 128), 4.0, angles, 0.0), image)
    assert np.sqrt(((ours - theirs) ** 2).mean()) < 0.001 * theirs.max()
    assert ours.reshape(120, 128, 16).sum(axis=1) == pytest.approx(theirs.reshape(120, 128, 16).sum(axis=1), rel=1e-4)


def test_a_wider_point_spread_keeps_every_view_s_total():
    image = disc(64, 12.0).reshape(-1, 1)
    totals = [project(system_matrix((64, 64), 4.0, view_angles(20), psf), image).sum() for psf in (0.0, 6.0)]
    assert totals[0] == pytest.approx(totals[1], rel=1e-5)


def test_thinned_counts_are_nested_and_binomial():
    counts = np.full((1000, 100), 40, np.int32)
    nested = thin(counts, DOSES, np.random.default_rng(1))
    assert nested[1.0] is counts
    for high, low in zip(DOSES[:-1], DOSES[1:], strict=True):
        assert (nested[low] <= nested[high]).all()
    for dose in DOSES[1:]:
        assert nested[dose].mean() == pytest.approx(40 * dose, rel=0.01)
        assert nested[dose].var() == pytest.approx(40 * dose * (1 - dose), rel=0.02)


def test_doses_keep_their_order_when_only_some_are_asked_for():
    nested = thin(np.full(1000, 100, np.int32), (0.05, 1.0, 0.5), np.random.default_rng(1))
    assert list(nested) == [1.0, 0.5, 0.05]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_torch_reconstructs_what_scipy_does(device):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a GPU; the same code runs on the CPU beside this")
    activity, mu = water_cylinder()
    setup = ScannerSetup(6.0, 6.0, trues_per_m=5e8)
    scan = acquire(activity, mu, setup, np.random.default_rng(0))
    counts = thin(scan.counts, (1.0, 0.05), np.random.default_rng(1))[0.05]
    ours, theirs = (Reconstruction(scan, setup, place).osem(counts, 0.05) for place in (torch.device(device), None))
    assert theirs.std() > 0.5
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


def test_osem_recovers_the_activity_from_plentiful_counts():
    activity, mu = water_cylinder()
    setup = ScannerSetup(6.0, 6.0, trues_per_m=1e11, psf_mm=4.0, model_psf_mm=4.0, axial_psf_mm=0.0, iterations=4)
    scan = acquire(activity, mu, setup, np.random.default_rng(0))
    image = Reconstruction(scan, setup).osem(scan.counts, 1.0)
    inner = np.broadcast_to(disc(48, 15.0) == 1, image.shape)
    assert image[inner].mean() == pytest.approx(2.0, rel=0.01)
    assert np.abs(image[inner] / 2 - 1).max() < 0.05


def test_wrong_scatter_in_the_reconstruction_shows_as_bias():
    activity, mu = water_cylinder()
    setup = ScannerSetup(6.0, 6.0, trues_per_m=1e11, scatter_error=1.1)
    scan = acquire(activity, mu, setup, np.random.default_rng(0))
    image = Reconstruction(scan, setup).osem(scan.counts, 1.0)
    middle = np.broadcast_to(disc(48, 9.0) == 1, image.shape)
    assert 2.02 < image[middle].mean() < 2.5


def test_noise_follows_one_over_the_root_of_the_dose():
    activity, mu = water_cylinder(slices=40)
    setup = ScannerSetup(6.0, 6.0, trues_per_m=5e8, psf_mm=4.0, model_psf_mm=4.0, filter_mm=8.0)
    rng = np.random.default_rng(0)
    scan = acquire(activity, mu, setup, rng)
    reconstruction = Reconstruction(scan, setup)
    inner = np.broadcast_to(disc(48, 14.0) == 1, activity.shape)
    deviation = {}
    for dose, counts in thin(scan.counts, (1.0, 0.25, 0.05), rng).items():
        image = reconstruction.filtered(reconstruction.osem(counts, dose))
        assert image[inner].mean() == pytest.approx(2.0, rel=0.02)
        deviation[dose] = image[inner].std()
    assert deviation[0.25] / deviation[1.0] == pytest.approx(2.0, rel=0.12)
    assert deviation[0.05] / deviation[1.0] == pytest.approx(20**0.5, rel=0.15)


@pytest.mark.parametrize("sigma", [0.3, 0.6, 1.0, 2.5])
def test_a_blur_has_its_variance_also_well_below_one_voxel(sigma):
    point = np.zeros((41, 3, 3), np.float32)
    point[20] = 1.0
    spread = blur(point, (sigma, 0, 0))[:, 1, 1]
    assert spread.sum() == pytest.approx(1, rel=1e-5)
    assert (spread * (np.arange(41) - 20.0) ** 2).sum() == pytest.approx(sigma**2, rel=0.01)


def test_the_two_families_of_scanners_differ_in_every_respect():
    rng = np.random.default_rng(0)
    families = (ScannerSetup.random, ScannerSetup.random_external)
    inside, outside = ([asdict(draw(rng)) for _ in range(300)] for draw in families)
    for name in set(inside[0]) - {"scatter_error"}:  # an error is nobody's property
        (a, b), (c, d) = ((min(v), max(v)) for v in ([one[name] for one in family] for family in (inside, outside)))
        assert d < a or b < c, name


def test_training_s_scanners_have_any_noise_and_leave_the_external_family_unseen():
    rng = np.random.default_rng(0)
    varied, outside = (
        [asdict(draw(rng)) for _ in range(300)] for draw in (ScannerSetup.random_varied, ScannerSetup.random_external)
    )
    counts = np.array([one["trues_per_m"] for one in varied])
    filters = np.array([one["filter_mm"] for one in varied])
    assert counts.min() < 6e7 and counts.max() > 4e9 and filters.min() < 0.2 and filters.max() > 7.5
    assert {one["iterations"] for one in varied} == {1, 2, 3, 4, 5, 6}
    assert abs(np.corrcoef(np.log(counts), filters)[0, 1]) < 0.2  # level and width each by itself
    for name in ("psf_mm", "axial_psf_mm", "scatter_fraction", "scatter_width_mm", "randoms_fraction", "angles"):
        assert max(one[name] for one in varied) < min(one[name] for one in outside) or name == "angles", name
    assert {one["angles"] for one in varied}.isdisjoint(one["angles"] for one in outside)
