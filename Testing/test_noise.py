"""The noise read off a scan: how large it is, and how wide."""

import numpy as np
import pytest
from scipy import ndimage

from MAPDiffLib.restoration import noise
from MAPDiffLib.restoration.noise import Noise, measure_noise, relative_noise
from MAPDiffLib.restoration.noise import _squared_differences as differences


def noisy_body(deviation=0.1, sigmas=(0, 0, 0), shape=(60, 72, 72), seed=0):
    """A warm box in air with Gaussian noise of these widths in voxels."""
    body = np.zeros(shape, bool)
    body[4:-4, 6:-6, 6:-6] = True
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), sigmas)
    return (2 * body * (1 + deviation * smooth / smooth.std())).astype(np.float32), body


@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_relative_noise_of_white_noise_is_its_coefficient_of_variation_whatever_the_units(scale):
    voxels, body = noisy_body()
    assert relative_noise(scale * voxels, body, (4, 4, 4)) == pytest.approx(0.1, rel=0.1)


def widths(noise):
    return noise.axial_mm, noise.in_plane_mm


@pytest.mark.parametrize(
    ("spacing_mm", "widths_mm"),
    [((5.3, 5.3, 2.9), (8, 13, 13)), ((4.2, 4.2, 4.2), (8, 10, 10)), ((1.7, 1.7, 2.9), (7, 6, 6))],
)
@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_the_widths_are_those_of_the_autocorrelation_in_mm_on_any_voxels_and_in_any_unit(spacing_mm, widths_mm, scale):
    # White noise through a Gaussian has an autocorrelation root two times as wide as the filter.
    sigmas = [w / 2.3548 / 2**0.5 / s for w, s in zip(widths_mm, reversed(spacing_mm), strict=True)]
    voxels, body = noisy_body(sigmas=sigmas)
    found = measure_noise(scale * voxels, body, spacing_mm)
    assert widths(found) == pytest.approx(widths_mm[:2], rel=0.2)
    again = measure_noise(voxels, body, spacing_mm)
    assert (found.level, *widths(found)) == pytest.approx((again.level, *widths(again)), rel=0.01)


def test_the_level_goes_with_the_noise():
    quiet, loud = (measure_noise(*noisy_body(deviation, (0.8, 1.1, 1.1)), (4, 4, 4)) for deviation in (0.05, 0.2))
    assert loud.level / quiet.level == pytest.approx(4, rel=0.1)


def test_fine_anatomy_in_most_of_a_body_is_not_taken_for_noise():
    """Two thirds of it strewn with bright dots."""
    voxels, body = noisy_body(0.05, (0.8, 1.1, 1.1))
    plain = measure_noise(voxels, body, (4, 4, 4))
    pattern = np.full((36, 72, 72), 0.9, np.float32)
    pattern[:, ::3, ::3] = 1.6  # 0.98 on average: no warmer than the rest
    strewn = voxels.copy()
    strewn[:36] *= pattern
    found = measure_noise(strewn, body, (4, 4, 4))
    assert found.level == pytest.approx(plain.level, rel=0.35)


def test_a_hot_spot_by_itself_is_not_what_noise_is_measured_in():
    voxels, body = noisy_body(0.1, (0.8, 1.1, 1.1))
    plain = measure_noise(voxels, body, (4, 4, 4))
    voxels[25:31, 30:36, 30:36] *= 5
    assert measure_noise(voxels, body, (4, 4, 4)).level == pytest.approx(plain.level, rel=0.05)


def test_uptake_that_changes_slowly_is_not_taken_for_wide_noise():
    voxels, body = noisy_body(sigmas=(0.8, 1.1, 1.1))
    flat = measure_noise(voxels, body, (4.2, 4.2, 4.2))
    slope = np.linspace(0.8, 1.2, voxels.shape[0], dtype=np.float32)[:, None, None]
    assert widths(measure_noise(voxels * slope, body, (4.2, 4.2, 4.2))) == pytest.approx(widths(flat), rel=0.1)


def test_a_fifth_of_the_windows_says_the_same(monkeypatch):
    voxels, body = noisy_body(sigmas=(0.8, 1.1, 1.1), shape=(90, 96, 96))
    every = measure_noise(voxels, body, (4.2, 4.2, 4.2))
    sizes = []
    monkeypatch.setattr(noise, "MOST_VOXELS", 60_000)
    monkeypatch.setattr(
        noise,
        "_squared_differences",
        lambda patches, *rest: sizes.append(patches.numel()) or differences(patches, *rest),
    )
    assert widths(measure_noise(voxels, body, (4.2, 4.2, 4.2))) == pytest.approx(widths(every), rel=0.1)
    assert max(sizes) <= 60_000


def test_nothing_is_said_of_a_body_without_a_warm_part_or_where_nothing_varies():
    voxels, body = noisy_body(deviation=0.0)
    assert measure_noise(voxels, body, (4, 4, 4)) is None
    thin = np.zeros_like(body)
    thin[30, 36, 36] = True
    assert measure_noise(voxels, thin, (4, 4, 4)) is None
    assert relative_noise(voxels, thin, (4, 4, 4)) is None


def test_what_the_network_is_told_is_in_voxels():
    assert Noise(0.2, 6.0, 8.0).in_voxels((4.0, 4.0, 3.0)) == pytest.approx((0.2, 2.0, 2.0))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("end", [slice(0, 2), slice(-2, None)])
def test_a_body_in_the_outermost_slices_alone_has_no_noise_to_measure(axis, end):
    body = np.zeros((40, 40, 40), bool)
    place = [slice(10, 30)] * 3
    place[axis] = end
    body[tuple(place)] = True
    voxels = np.random.default_rng(0).random(body.shape, dtype=np.float32)
    assert relative_noise(voxels, body, (4, 4, 4)) is None and measure_noise(voxels, body, (4, 4, 4)) is None
