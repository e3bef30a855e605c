"""The mean-activity guard: drift goes, detail stays, and what was done is said."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from MAPDiffLib.restoration.activity_guard import TOLERANCE, guard_activity

SPACING = (4.0, 4.0, 4.0)


def guard(restored, scan, body, spacing):
    """guard_activity on arrays."""
    given = (torch.from_numpy(np.ascontiguousarray(array)) for array in (restored, scan, body))
    guarded = guard_activity(*given, spacing)
    return guarded.image.numpy(), guarded.report


def phantom():
    body = np.zeros((64, 48, 48), bool)
    body[4:60, 6:42, 6:42] = True
    voxels = np.where(body, 1.0, 0.0).astype(np.float32)
    voxels[20:40, 15:30, 15:30] = 3.0
    voxels[30:32, 20:22, 20:22] = 12.0
    return voxels, body


def test_a_global_drift_is_undone_and_reported():
    voxels, body = phantom()
    guarded, report = guard(voxels * 0.95, voxels, body, SPACING)
    assert np.allclose(guarded, voxels, rtol=1e-3, atol=1e-6)
    assert report.drift == pytest.approx(-0.05, abs=1e-4)
    assert report.local_median == pytest.approx(0.05 / 0.95, abs=1e-3)


def test_a_drift_that_varies_slowly_over_the_body_is_undone():
    voxels, body = phantom()
    slope = np.linspace(0.94, 1.06, 64, dtype=np.float32)[:, None, None]
    guarded, _ = guard(voxels * slope, voxels, body, SPACING)
    inside = ndimage.binary_erosion(body, iterations=4)
    assert np.abs(guarded / np.maximum(voxels, 1e-6) - 1)[inside].max() < 0.03


def test_an_image_without_drift_is_left_alone():
    voxels, body = phantom()
    guarded, report = guard(voxels, voxels, body, SPACING)
    assert np.allclose(guarded, voxels, rtol=1e-5, atol=0)
    assert report.drift == pytest.approx(0, abs=1e-6) and report.local_max < 1e-5


def test_a_noisy_scan_does_not_put_its_noise_into_the_restoration():
    voxels, body = phantom()
    noise = np.random.default_rng(0).standard_normal(voxels.shape).astype(np.float32)
    noise = ndimage.gaussian_filter(noise, 1.0)
    scan = voxels * (1 + 0.3 * noise / noise.std())
    guarded, _ = guard(voxels, scan, body, SPACING)
    assert np.abs(guarded / np.maximum(voxels, 1e-6) - 1)[body].mean() < 0.02


def test_the_mean_in_the_body_is_the_scans_within_the_promise_even_when_the_field_is_held():
    voxels, body = phantom()
    guarded, report = guard(voxels * 0.5, voxels, body, SPACING)
    assert guarded[body].mean() == pytest.approx(voxels[body].mean(), rel=TOLERANCE)
    assert report.drift == pytest.approx(-0.5, abs=1e-4)


def test_the_guard_knows_no_units():
    voxels, body = phantom()
    once, _ = guard(voxels * 0.9, voxels, body, SPACING)
    thousand, _ = guard(voxels * 900, voxels * 1000, body, SPACING)
    assert thousand == pytest.approx(once * 1000, rel=1e-5)
