"""The metrics against values worked out by hand."""

import math
import sys

import numpy as np
import pytest

from MAPDiffLib.errors import InputError
from MAPDiffLib.report.metrics import nmae, psnr, ssim

REFERENCE = np.full((12, 12, 12), 4.0, np.float32)
EVERYWHERE = np.ones(REFERENCE.shape, bool)


def test_nmae_is_the_absolute_error_over_the_reference_inside_the_mask_only():
    estimate = REFERENCE.copy()
    estimate[0] = 5.0  # 1/12 of the voxels is off by 1/4
    assert nmae(estimate, REFERENCE, EVERYWHERE) == pytest.approx(0.25 / 12)
    first = np.zeros_like(EVERYWHERE)
    first[0] = True
    assert nmae(estimate, REFERENCE, first) == pytest.approx(0.25)
    assert nmae(estimate, REFERENCE, ~first) == 0.0


def test_psnr_is_40_db_where_the_error_is_a_hundredth_of_the_peak():
    assert psnr(REFERENCE + 0.2, REFERENCE, EVERYWHERE) == pytest.approx(40.0, abs=1e-4)
    assert psnr(REFERENCE + 0.2, REFERENCE, EVERYWHERE, peak=2.0) == pytest.approx(20.0, abs=1e-4)
    assert psnr(REFERENCE, REFERENCE, EVERYWHERE) == math.inf


def test_ssim_of_two_constants_is_the_luminance_term():
    c1 = (0.01 * 20.0) ** 2
    expected = (2 * 4 * 5 + c1) / (4**2 + 5**2 + c1)
    assert ssim(REFERENCE + 1, REFERENCE, EVERYWHERE) == pytest.approx(expected, abs=1e-5)
    assert ssim(REFERENCE, REFERENCE, EVERYWHERE) == pytest.approx(1.0)


def test_noise_lowers_ssim_only_where_the_mask_is():
    estimate = REFERENCE.copy()
    estimate = np.concatenate([estimate, estimate])
    estimate[:6] += np.random.default_rng(0).standard_normal(estimate[:6].shape).astype(np.float32)
    reference = np.concatenate([REFERENCE, REFERENCE])
    far = np.zeros(reference.shape, bool)
    far[12:] = True
    assert ssim(estimate, reference, far) == pytest.approx(1.0, abs=1e-6)
    assert ssim(estimate, reference, ~far) < 0.9


def test_unlike_shapes_an_empty_mask_and_an_empty_reference_are_refused():
    with pytest.raises(InputError, match="shapes differ"):
        nmae(REFERENCE[1:], REFERENCE, EVERYWHERE)
    with pytest.raises(InputError, match="mask is empty"):
        psnr(REFERENCE, REFERENCE, ~EVERYWHERE)
    with pytest.raises(InputError, match="zero everywhere"):
        nmae(REFERENCE, np.zeros_like(REFERENCE), EVERYWHERE)
    with pytest.raises(InputError, match="at least 11 voxels"):
        ssim(REFERENCE[:4], REFERENCE[:4], EVERYWHERE[:4])


def test_ssim_without_scikit_image_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.metrics", None)
    with pytest.raises(InputError, match=r'pip install "mapdiff\[demo\]"'):
        ssim(REFERENCE, REFERENCE, EVERYWHERE)


def test_ssim_of_a_small_mask_is_that_of_the_whole_volumes_map():
    from skimage.metrics import structural_similarity

    rng = np.random.default_rng(0)
    reference, estimate = rng.random((2, 40, 44, 48), dtype=np.float32)
    mask = np.zeros(reference.shape, bool)
    mask[20:26, 5:14, 30:41] = True
    _, whole = structural_similarity(estimate, reference, data_range=20.0, gaussian_weights=True, full=True)
    assert ssim(estimate, reference, mask) == pytest.approx(whole[mask].mean(), rel=1e-5)
