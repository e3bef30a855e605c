"""Numbers: formats, threads, and volumes at the edge of what is a scan, restored with the shipped weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from MAPDiffLib.errors import InputError
from MAPDiffLib.job import RestoreOptions
from MAPDiffLib.model.bundle import load_bundle
from MAPDiffLib.restoration.device import Compute, choose_compute
from MAPDiffLib.restoration.restore import restore
from MAPDiffLib.restoration.tiles import TiledNetwork
from MAPDiffLib.scan.volume import Volume, check_volume

CPU = torch.device("cpu")
GIVEN = RestoreOptions(input_dose=0.05, samples=2, precision="float32")


@pytest.fixture(scope="module")
def bundle():
    return load_bundle("mapdiff-base")


def scan(shape=(40, 32, 48), spacing=(4.0, 4.0, 4.0), noise=0.2):
    """A warm ellipsoid with a hot ball in air, with smooth noise, [z, y, x]."""
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    voxels = ((x / 0.7) ** 2 + (y / 0.7) ** 2 + (z / 0.9) ** 2 < 1).astype(np.float32)
    voxels[(x - 0.2) ** 2 + y**2 + z**2 < 0.04] = 6
    grain = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal(shape), 0.7)
    return Volume((voxels * (1 + noise * grain / grain.std())).astype(np.float32), spacing, units="SUVbw")


def restored(volume, bundle, options=GIVEN):
    """{dose: voxels}, of a scan that passes the check."""
    check_volume(volume, "scan")
    return {dose.dose: dose.volume.voxels for dose in restore(volume, bundle, options)}


@pytest.fixture(scope="module")
def reference(bundle):
    return restored(scan(), bundle)


def body_mean(volume):
    return volume.voxels[volume.body].mean()


def test_float32_is_float64_to_a_hundred_thousandth(bundle):
    """One evaluation of the network in both, in network units."""
    shape = (32, 32, 32)
    x, y = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    body = torch.ones(shape, dtype=torch.bool)
    exact = TiledNetwork(bundle.network, body, Compute(CPU, torch.float64))(x, y, 0.5, (0.3, 1.5, 2.0))
    single = TiledNetwork(bundle.network, body, Compute(CPU, torch.float32))(x.float(), y.float(), 0.5, (0.3, 1.5, 2.0))
    assert exact.dtype == torch.float64
    assert (single - exact).abs().max() < 1e-5 * exact.abs().max()


def test_bfloat16_differs_by_less_than_half_a_percent_of_the_body_mean(bundle, reference):
    volume = scan()
    options = RestoreOptions(input_dose=0.05, samples=2, precision="bfloat16")
    found = restored(volume, bundle, options)
    for dose, image in found.items():
        difference = np.abs(image - reference[dose])[volume.body]
        assert difference.mean() < 0.005 * body_mean(volume), dose


def test_a_cpu_computes_in_float32_unless_asked_otherwise():
    """Whatever instructions it has: the format changes a result by thousandths."""
    chosen = [choose_compute("cpu", precision).dtype for precision in ("auto", "float32", "bfloat16")]
    assert chosen == [torch.float32, torch.float32, torch.bfloat16]


def test_any_number_of_threads_gives_the_same_answer(bundle, reference):
    before = torch.get_num_threads()
    try:
        for threads in (1, 4):
            torch.set_num_threads(threads)
            found = restored(scan(), bundle)
            assert all(np.allclose(found[dose], reference[dose], rtol=1e-4, atol=1e-4) for dose in reference)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("shape", [(17, 33, 65), (31, 9, 40), (3, 40, 40), (64, 30, 31)])
def test_odd_sizes_are_restored_with_their_own_size(bundle, shape):
    volume = scan(shape)
    for image in restored(volume, bundle).values():
        assert image.shape == shape and np.isfinite(image).all()
        assert image[volume.body].mean() == pytest.approx(body_mean(volume), rel=0.01)


def test_one_voxel_thick_is_refused():
    with pytest.raises(InputError, match="single slice"):
        check_volume(scan((2, 40, 40)).with_voxels(scan((2, 40, 40)).voxels[:1]), "scan")


@pytest.mark.parametrize("factor", [1e-30, 1e30])
def test_huge_and_tiny_units_give_the_same_image(bundle, reference, factor):
    volume = scan()
    found = restored(volume.with_voxels(volume.voxels * np.float32(factor)), bundle)
    for dose, image in found.items():
        assert np.allclose(image / factor, reference[dose], rtol=2e-3, atol=2e-3), dose


def test_without_a_given_dose_huge_and_tiny_units_are_taken_for_the_same_dose(bundle):
    volume, doses = scan(noise=0.5), []
    for factor in (1e-30, 1.0, 1e30):
        restoration = restore(volume.with_voxels(volume.voxels * np.float32(factor)), bundle, RestoreOptions(samples=1))
        doses.append(next(restoration).input_dose)
    assert doses == pytest.approx([doses[1]] * 3, rel=1e-3)


def test_slices_of_zeros_stay_zero(bundle):
    volume = scan()
    voxels = volume.voxels.copy()
    voxels[:6] = 0
    voxels[-9:] = 0
    for image in restored(volume.with_voxels(voxels), bundle).values():
        outside = ~volume.with_voxels(voxels).body
        assert np.array_equal(image[outside], voxels[outside])


@pytest.mark.parametrize("spacing", [(2.5, 2.5, 20.0), (12.0, 3.0, 3.0), (1.0, 6.0, 6.0)])
def test_very_unequal_voxels_are_restored(bundle, spacing):
    volume = scan(spacing=spacing)
    for image in restored(volume, bundle).values():
        assert np.isfinite(image).all()
        assert image[volume.body].mean() == pytest.approx(body_mean(volume), rel=0.01)


TURNED = (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0)
FLIPPED = (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, -1.0)


@pytest.mark.parametrize("direction", [TURNED, FLIPPED])
def test_the_axes_in_space_do_not_change_the_voxels(bundle, reference, direction):
    volume = scan()
    turned = Volume(volume.voxels, volume.spacing_mm, (5.0, -7.0, 9.0), direction, "SUVbw")
    for found in restore(turned, bundle, GIVEN):
        assert found.volume.direction == direction and found.volume.origin_mm == (5.0, -7.0, 9.0)
        assert np.array_equal(found.volume.voxels, reference[found.dose])


@pytest.mark.parametrize("axes", [(0,), (1, 2)])
def test_a_scan_stored_flipped_is_restored_as_the_same_body(bundle, reference, axes):
    """Not to the last bit: the noise is drawn voxel by voxel and the network has no exact mirror symmetry. But the two
    differ by far less than the restoration changes the scan, and no shift or swapped axis could stay that small."""
    volume = scan()
    found = restored(volume.with_voxels(np.flip(volume.voxels, axes)), bundle)
    for dose, image in found.items():
        by_flip = np.abs(np.flip(image, axes) - reference[dose])[volume.body].mean()
        by_restoring = np.abs(volume.voxels - reference[dose])[volume.body].mean()
        assert by_flip < 0.05 * body_mean(volume) and by_flip < by_restoring, dose
        assert np.corrcoef(np.flip(image, axes)[volume.body], reference[dose][volume.body])[0, 1] > 0.99
