"""The simulator: projector, nested doses, reconstruction, phantoms, cases and splits, against theory."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy import ndimage

from MAPDiffLib.errors import InputError
from MAPDiffLib.scan.volume import body_mask
from training.__main__ import main
from training.cases.case_file import read_facts
from training.cases.regions import lesion_masks
from training.simulate import cases, validate
from training.simulate.cases import (
    DOSES,
    NOISE_FREE,
    SIZES,
    SPLITS,
    CaseOptions,
    Size,
    case_folder,
    make_case,
    simulate_case,
    split_seed,
    write_case,
)
from training.simulate.flesh import paint_fine_structure
from training.simulate.lesions import LesionPlan, draw_shape
from training.simulate.phantom import make_phantom
from training.simulate.real import insert_lesions
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
from training.simulate.shapes import Canvas, Grid, SmoothField, curve, smooth_field
from training.simulate.tissues import PROPERTIES, Tissue
from training.simulate.validate import correlation_fwhm, noise_cv, noise_metric

TINY = CaseOptions("tiny")


@pytest.fixture(scope="module")
def tiny_case():
    return simulate_case(4, TINY)


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


def test_every_dose_of_a_case_shows_the_same_activity(tiny_case):
    volumes, facts = tiny_case
    body = volumes["truth"] > 0
    means = [volumes[f"dose-{dose:.3f}"][body].mean() for dose in DOSES]
    assert np.allclose(means, means[0], rtol=0.02)
    assert all(v.shape == SIZES[TINY.size].shape and v.dtype == np.float32 for k, v in volumes.items() if k != "labels")
    assert facts["doses"] == sorted(DOSES)


def test_the_noise_free_image_is_what_the_doses_scatter_around(tiny_case):
    volumes, _ = tiny_case
    body, free = volumes["truth"] > 0.1, volumes[NOISE_FREE]
    away = [np.sqrt(((volumes[f"dose-{dose:.3f}"] - free)[body] ** 2).mean()) for dose in sorted(DOSES)]
    assert all(low > 1.2 * high for low, high in zip(away, away[1:], strict=False))  # as noise does, to nothing
    lowest = volumes[f"dose-{min(DOSES):.3f}"]
    assert free[body].mean() == pytest.approx(lowest[body].mean(), rel=0.02)


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


def test_a_body_rich_in_lesions_has_small_and_faint_ones_in_many_tissues():
    grid = Grid((64, 64, 64), (7.0, 7.0, 14.0))
    plain, rich = make_phantom(3, grid), make_phantom(3, grid, LesionPlan((60, 60), rich=True))
    assert len(rich.lesions) > 40 > len(plain.lesions)
    small = np.mean([lesion.diameter_mm < 13 for lesion in rich.lesions])
    assert 0.3 < small < 0.7 and len({lesion.host for lesion in rich.lesions}) >= 5
    over_host = [lesion.suv / PROPERTIES[Tissue[lesion.host.upper()]][0] for lesion in rich.lesions]
    assert min(over_host) < 2 and max(over_host) > 8 and max(lesion.suv for lesion in rich.lesions) < 30
    assert np.array_equal(rich.activity, make_phantom(3, grid, LesionPlan((60, 60), rich=True)).activity)


@pytest.fixture
def tumours(tmp_path):
    """A folder with one tumour: a box of 6 x 8 x 10 voxels of 4 mm, twice as active in one half."""
    pet, mask = np.full((20, 20, 20), 0.3, np.float32), np.zeros((20, 20, 20), np.uint8)
    mask[7:13, 6:14, 5:15] = 1
    pet[mask > 0] = 3.0
    pet[7:10, 6:14, 5:15] = 6.0
    for name, voxels in (("pet", pet), ("mask", mask)):
        image = sitk.GetImageFromArray(voxels)
        image.SetSpacing((4.0, 4.0, 4.0))
        sitk.WriteImage(image, str(tmp_path / f"{name}_001.nii.gz"))
    return tmp_path


@pytest.mark.parametrize("diameter", [6.0, 12.0, 20.0])
def test_a_real_tumour_is_shrunk_to_its_diameter_and_keeps_its_pattern(tumours, diameter):
    shape = draw_shape(np.random.default_rng(1), "tumour", diameter, (1.0, 1.0, 1.0), tumours)
    inside = shape.uptake > 0
    assert np.count_nonzero(inside) == pytest.approx(np.pi / 6 * diameter**3, rel=0.3)
    assert shape.uptake[inside].mean() == pytest.approx(1, rel=0.02)
    assert inside[shape.centre]
    middle = shape.uptake.shape[0] // 2
    halves = [part[part > 0].mean() for part in (shape.uptake[:middle], shape.uptake[middle:])]
    assert max(halves) / min(halves) == pytest.approx(2, rel=0.25)


def test_a_folder_without_tumours_is_refused_by_name(tmp_path):
    with pytest.raises(InputError, match="no pet_"):
        draw_shape(np.random.default_rng(0), "tumour", 10.0, (2.0, 2.0, 2.0), tmp_path)


def test_lesions_put_into_a_real_anatomy_have_their_place_and_their_activity(tumours):
    activity = np.full((40, 40, 40), 1.0, np.float32)
    labels, lesions = insert_lesions(
        activity, (4.0, 4.0, 4.0), LesionPlan((12, 12), True, tumours), np.random.default_rng(0)
    )
    assert len(lesions) >= 10 and np.array_equal(activity == 1.0, ~(activity != 1.0))
    masks = lesion_masks(labels, [asdict(lesion) for lesion in lesions], (4.0, 4.0, 4.0))
    for lesion, mask in zip(lesions, masks, strict=True):
        assert mask is not None and activity[mask].max() <= 4.1 * lesion.suv
        if lesion.diameter_mm > 16:
            assert activity[mask].mean() == pytest.approx(lesion.suv, rel=0.3)
    added = (activity - 1).sum() * 0.064  # ml
    wanted = sum((lesion.suv - 1) * np.pi / 6000 * lesion.diameter_mm**3 for lesion in lesions)
    assert added == pytest.approx(wanted, rel=0.3)


def test_the_noise_metric_of_white_noise_is_known():
    """|N(0, s)| has mean s sqrt(2 / pi); taking off the sigma 2 blur leaves s^2 (1 - 2 G(0) + sum G^2)."""
    rng = np.random.default_rng(0)
    log_image = 1.0 + 0.05 * rng.standard_normal((40, 40, 40))
    along = np.exp(-0.5 * (np.arange(-8, 9) / 2.0) ** 2)
    along /= along.sum()
    left = 1 - 2 * along[8] ** 3 + (along**2).sum() ** 3
    measured = noise_metric(np.expm1(log_image), np.ones(log_image.shape, bool), (1.65, 1.65, 1.65))
    assert measured == pytest.approx(0.05 * (2 / np.pi * left) ** 0.5, rel=0.02)


def test_the_noise_of_nested_doses_is_told_from_the_texture():
    rng = np.random.default_rng(0)
    texture = 10_000 * (1 + 0.2 * rng.standard_normal(200_000))
    counts = rng.poisson(np.maximum(texture, 1))
    low = rng.binomial(counts, 0.1) / 0.1
    assert noise_cv(low, counts, 0.1) == pytest.approx((10 / 10_000) ** 0.5, rel=0.02)


def test_the_correlation_length_of_blurred_noise_is_that_of_the_blur():
    """Noise blurred by a Gaussian of sigma s has a Gaussian autocorrelation of sigma s sqrt(2)."""
    noise = blur(np.random.default_rng(0).standard_normal((80, 80, 80)), (2.0, 2.5, 2.5))
    inside = np.zeros(noise.shape, bool)
    inside[10:70, 10:70, 5:75] = True
    noise[~inside] = 100.0  # what lies outside must not count
    in_plane, axial = correlation_fwhm(noise, inside, (1.5, 1.5, 3.0))
    assert in_plane == pytest.approx(2.3548 * 2**0.5 * 2.5 * 1.5, rel=0.08)
    assert axial == pytest.approx(2.3548 * 2**0.5 * 2.0 * 3.0, rel=0.08)


def test_validate_prints_every_case_and_their_mean_beside_the_published_ranges(tmp_path, capsys):
    grid, rng = np.indices((24, 30, 30)), np.random.default_rng(0)
    ball = sum((axis - middle) ** 2 for axis, middle in zip(grid, (12, 15, 15), strict=True)) < 11**2
    for number, level in enumerate((2.0, 4.0)):
        truth = np.where(ball, level, 0).astype(np.float32)
        noise = {dose: rng.standard_normal(ball.shape) * 0.02 / dose**0.5 for dose in (1.0, 0.25, 0.05)}
        volumes = {f"dose-{dose:.3f}": (truth * (1 + n)).astype(np.float32) for dose, n in noise.items()}
        volumes |= {"truth": truth, "labels": np.where(ball, Tissue.LIVER, 0).astype(np.uint8)}
        write_case(tmp_path / f"case-{number}", volumes, {"spacing_mm": [3.3, 3.3, 3.3], "doses": sorted(noise)})
    folders = [str(tmp_path / f"case-{number}") for number in range(2)]
    assert main(["validate", *folders, "--figure", str(tmp_path / "figure.png")]) == 0
    printed = capsys.readouterr().out
    figures = [validate.case_figures(folder) for folder in folders]
    mean = validate.mean_figures(figures)
    assert mean["suv"][0] == pytest.approx((figures[0]["suv"][0] + figures[1]["suv"][0]) / 2)
    assert mean["doses"][0.05]["noise"] == pytest.approx(sum(one["doses"][0.05]["noise"] for one in figures) / 2)
    for one, text in zip([*figures, mean], printed.split("body SUV ")[1:], strict=True):
        assert text.startswith(f"mean {one['suv'][0]:.2f} (0.81-0.88 !)")  # a ball of liver is no body
        assert f"in plane {one['correlation_mm'][0]:.2f} (7.5-12.7 !)" in text  # white noise is no scan's
        assert f" 0.050 {one['doses'][0.05]['noise']:7.4f}   0.0855-0.1169   0.0723-0.0948" in text
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_a_scanner_is_matched_only_at_doses_whose_noise_lies_in_its_band():
    rows = {1.0: 0.045, 0.25: 0.065, 0.1: 0.2, 0.5: 0.05}
    matched = validate.scanners_matched({"doses": {dose: {"noise": noise} for dose, noise in rows.items()}})
    assert matched == {"Quadra": [1.0, 0.25], "uEXPLORER": [1.0]}


def test_no_seed_belongs_to_two_splits():
    seeds = {split: range(split_seed(split, 0), split_seed(split, cases.SEEDS_PER_SPLIT - 1) + 1) for split in SPLITS}
    ordered = sorted(seeds.values(), key=lambda r: r.start)
    assert all(a.stop <= b.start for a, b in zip(ordered, ordered[1:], strict=False))
    with pytest.raises(ValueError, match="splits stay apart"):
        split_seed("train", cases.SEEDS_PER_SPLIT)
    with pytest.raises(ValueError, match="one of train, validation, test"):
        split_seed("tests", 0)


@pytest.fixture
def quick_cases(monkeypatch):
    """Cases whose simulation takes no time: two doses of a constant volume."""

    def constant(seed, options):
        shape, doses = cases.SIZES[options.size].shape, options.doses
        volumes = {f"dose-{dose:.3f}": np.full(shape, seed, np.float32) for dose in doses}
        asked = {"lesions_asked": options.lesions.number, "family_asked": options.family}
        facts = {"seed": seed, "spacing_mm": [4.0, 4.0, 3.0], "doses": sorted(doses), **asked}
        return volumes, facts

    monkeypatch.setattr(cases, "simulate_case", constant)
    monkeypatch.setitem(cases.SIZES, "small", Size((4, 5, 6), 1.0))


def test_a_case_is_written_with_its_geometry_and_then_skipped(tmp_path, quick_cases):
    assert make_case(tmp_path, "validation", 7, CaseOptions("small", (1.0, 0.1)))
    folder = case_folder(tmp_path, "validation", 7)
    assert sorted(p.name for p in folder.iterdir()) == ["case.json", "dose-0.100.nii.gz", "dose-1.000.nii.gz"]
    image = sitk.ReadImage(str(folder / "dose-0.100.nii.gz"))
    assert image.GetSize() == (6, 5, 4) and np.allclose(image.GetSpacing(), (4, 4, 3))
    assert json.loads((folder / "case.json").read_text())["seed"] == split_seed("validation", 7)
    assert not make_case(tmp_path, "validation", 7, CaseOptions("small", (1.0, 0.1)))


def test_the_command_makes_the_seeds_with_the_lesions_asked_for(tmp_path, quick_cases, capsys):
    common = ["simulate", "--split", "train", "--size", "small", "--output", str(tmp_path), "--doses", "1"]
    assert main([*common, "--seeds", "2-3", "--lesions", "30-50"]) == 0
    assert main([*common, "--seeds", "3-4"]) == 0
    assert "1 made, 1 were there already" in capsys.readouterr().out
    asked = [read_facts(case_folder(tmp_path, "train", number))["lesions_asked"] for number in (2, 3, 4)]
    assert asked == [[30, 50], [30, 50], [0, 12]]
    assert read_facts(case_folder(tmp_path, "train", 2))["family_asked"] == "varied"
    assert main([*common, "--seeds", "6", "--family", "internal"]) == 0
    assert read_facts(case_folder(tmp_path, "train", 6))["family_asked"] == "internal"
    with pytest.raises(SystemExit):
        main([*common, "--seeds", "5", "--lesions", "9-3"])


def test_a_case_that_was_killed_half_way_is_made_again(tmp_path, quick_cases, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(cases, "write_nifti", killed)
        make_case(tmp_path, "train", 1, CaseOptions("small", (1.0,)))
    assert not case_folder(tmp_path, "train", 1).exists()
    assert make_case(tmp_path, "train", 1, CaseOptions("small", (1.0,)))
    assert [p.name for p in (tmp_path / "train").iterdir()] == ["case-00001"]
