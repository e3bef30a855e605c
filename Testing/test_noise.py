"""The noise read off a scan: how large it is, and how wide."""

import numpy as np
import pytest
from scipy import ndimage

from MAPDiffLib.restoration import noise
from MAPDiffLib.restoration.noise import _squared_differences as differences
from MAPDiffLib.restoration.noise import noise_widths, relative_noise


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


@pytest.mark.parametrize(
    ("spacing_mm", "widths_mm"),
    [((5.3, 5.3, 2.9), (10, 15, 14)), ((4.2, 4.2, 4.2), (10, 13, 12)), ((1.7, 1.7, 2.9), (8, 7, 7))],
)
@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_the_widths_are_those_of_the_autocorrelation_in_mm_on_any_voxels_and_in_any_unit(spacing_mm, widths_mm, scale):
    # White noise through a Gaussian has an autocorrelation root two times as wide as the filter.
    sigmas = [w / 2.3548 / 2**0.5 / s for w, s in zip(widths_mm, reversed(spacing_mm), strict=True)]
    voxels, body = noisy_body(sigmas=sigmas)
    assert noise_widths(scale * voxels, body, spacing_mm) == pytest.approx(widths_mm, rel=0.12)


def test_uptake_that_changes_slowly_is_not_taken_for_wide_noise():
    voxels, body = noisy_body(sigmas=(0.8, 1.1, 0.9))
    flat = noise_widths(voxels, body, (4.2, 4.2, 4.2))
    slope = np.linspace(0.6, 1.4, voxels.shape[0], dtype=np.float32)[:, None, None]
    assert noise_widths(voxels * slope, body, (4.2, 4.2, 4.2)) == pytest.approx(flat, rel=0.1)


def test_a_fifth_of_the_windows_says_the_same(monkeypatch):
    voxels, body = noisy_body(sigmas=(0.8, 1.1, 0.9))
    every = noise_widths(voxels, body, (4.2, 4.2, 4.2))
    sizes = []
    monkeypatch.setattr(noise, "MOST_VOXELS", 100_000)
    monkeypatch.setattr(
        noise,
        "_squared_differences",
        lambda patches, *rest: sizes.append(patches.numel()) or differences(patches, *rest),
    )
    assert noise_widths(voxels, body, (4.2, 4.2, 4.2)) == pytest.approx(every, rel=0.05)
    assert max(sizes) <= 100_000


def test_nothing_is_said_of_a_body_without_a_warm_part_and_no_width_where_nothing_varies():
    voxels, body = noisy_body(deviation=0.0)
    assert np.isnan(noise_widths(voxels, body, (4, 4, 4))).all()
    thin = np.zeros_like(body)
    thin[30, 36, 36] = True
    assert noise_widths(voxels, thin, (4, 4, 4)) is None
    assert relative_noise(voxels, thin, (4, 4, 4)) is None
