"""Region statistics: readings by hand, the best estimate by theory, the noise of regions of any size."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from MAPDiffLib.errors import InputError
from MAPDiffLib.model.fidelity import Fidelity
from MAPDiffLib.restoration.quantify import Quantifier, best_estimate, read_region, sphere_weights

SPACING = (4.0, 4.0, 4.0)


def scene(noise=0.2, seed=0, shape=(44, 44, 44)):
    body = np.zeros(shape, bool)
    body[3:-3, 3:-3, 3:-3] = True
    full = np.where(body, 2.0, 0).astype(np.float32)
    white = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 0.8)
    scan = full * (1 + noise * (white / white.std()).astype(np.float32))
    return scan, full, body


def ball(radius, centre=(22, 22, 22), shape=(44, 44, 44)):
    z, y, x = np.indices(shape)
    return sum((a - c) ** 2 for a, c in zip((z, y, x), centre, strict=True)) <= radius**2


def test_readings_of_a_box_are_those_of_hand():
    image = np.ones((12, 12, 12), np.float32)
    mask = np.zeros(image.shape, bool)
    mask[4:8, 4:8, 4:8] = True
    image[mask] = 3.0
    image[5, 5, 5] = 11.0
    readings = read_region(image, mask, (5.0, 5.0, 2.0))
    assert readings.volume_ml == pytest.approx(64 * 0.05)
    assert readings.mean == pytest.approx((63 * 3 + 11) / 64) and readings.max == 11
    assert readings.tlg == pytest.approx(readings.mean * 3.2)
    assert 3.0 < readings.peak < 11


def test_the_peak_is_the_hottest_sphere_of_one_ml():
    image = np.zeros((21, 21, 21), np.float32)
    image[10, 10, 10] = 1.0
    reading = read_region(image, image > 0, (3.0, 3.0, 3.0))
    assert reading.peak == pytest.approx(0.027, rel=0.02)  # a voxel's share of 1 mL
    assert sphere_weights(1.0, (3.0, 3.0, 3.0)).sum() == pytest.approx(1)


def test_scan_and_restored_image_are_weighed_by_how_wrong_either_may_be():
    even = Fidelity(bias=0.5, tails=1.0, least_error=0.0)
    quiet, alike, noisy = (best_estimate(10.0, 5.0, deviation, even) for deviation in (0.1, 5.0, 50.0))
    assert quiet.value == pytest.approx(10.0, abs=0.01) and "lower here" in quiet.warning
    assert alike.value == pytest.approx(7.5) and alike.warning == ""  # half of 10 may be bias
    assert noisy.value == pytest.approx(5.0, abs=0.1)
    assert alike.high - alike.value == pytest.approx(1.645 * 5 / 2**0.5)  # two errors of 5, the mean of two
    assert "higher here" in best_estimate(2.0, 5.0, 0.5).warning


def test_an_interval_is_as_wide_as_the_bundle_says():
    base = Fidelity(tails=1.0, least_error=0.0)
    plain = best_estimate(10.0, 9.0, 1.0, base)
    wide, floor = (
        best_estimate(10.0, 9.0, 1.0, each) for each in (replace(base, tails=2.0), replace(base, least_error=1.0))
    )
    assert wide.high - wide.value == pytest.approx(2 * (plain.high - plain.value))
    assert floor.high - floor.value == pytest.approx(np.hypot(1.645 * plain.value, plain.high - plain.value))


def test_without_a_measure_of_noise_the_value_is_the_scans_and_has_no_interval():
    found = best_estimate(10.0, 5.0, float("nan"))
    assert found.value == 10 and np.isnan([found.low, found.high, found.t]).all() and found.warning == ""


@pytest.mark.parametrize("radius", [0.1, 2.1, 6.1, 11.1])
def test_the_deviation_of_a_regions_mean_is_that_of_its_noise_from_a_voxel_to_an_organ(radius):
    mask, means = ball(radius), []
    for seed in range(40 if radius < 11 else 12):
        scan, full, _ = scene(seed=seed)
        means.append((scan - full)[mask].mean())
    deviation = Quantifier(*scene(seed=99), SPACING).taken_away(mask)
    assert deviation == pytest.approx(np.sqrt(np.mean(np.square(means))), rel=0.5)


def test_a_bundle_says_how_much_more_the_noise_is_than_what_was_taken_away():
    mask, (scan, full, body) = ball(2.1), scene(noise=0.1)
    scan[mask] += 2
    plain, more, law = (
        Quantifier(scan, full, body, SPACING, Fidelity(noise_factor=factor, noise_power=power))
        for factor, power in ((1.0, 0.0), (2.0, 0.0), (1.0, 0.5))
    )
    assert plain.relative_noise == pytest.approx(0.1, rel=0.1)
    assert more.best_mean(mask).t == pytest.approx(plain.best_mean(mask).t / 2)
    assert law.best_mean(mask).t == pytest.approx(plain.best_mean(mask).t * plain.relative_noise**0.5)


def test_the_interval_holds_what_the_scan_was_drawn_from():
    scan, full, body = scene(noise=0.3)
    quantifier, held = Quantifier(scan, full, body, SPACING), []
    for centre in np.random.default_rng(1).integers(12, 32, (25, 3)):
        best = quantifier.best_mean(ball(2.1, centre))
        held.append(best.low <= 2.0 <= best.high)
    assert np.mean(held) >= 0.85


def test_the_statistics_know_no_units_and_name_the_images_in_order():
    scan, full, body = scene()
    mask = ball(2.1)
    once = Quantifier(scan, full, body, SPACING).region(mask, {"1/4": 0.5 * (scan + full), "full": full})
    many = Quantifier(1024 * scan, 1024 * full, body, SPACING).region(mask, {"full": 1024 * full})
    assert list(once.readings) == ["input", "1/4", "full"]
    assert many.mean.value == pytest.approx(1024 * once.mean.value) and many.mean.t == pytest.approx(once.mean.t)
    assert many.peak.value == pytest.approx(1024 * once.peak.value)


def test_the_peaks_sphere_lies_where_the_restored_image_is_hottest_at_the_edge_of_the_volume_too():
    scan, full, body = scene()
    full[4:7, 20:23, 20:23] = 6.0
    scan[30, 30, 30] = 60.0  # a voxel of noise
    mask = np.ones(body.shape, bool)
    best = Quantifier(scan, full, body, SPACING).region(mask, {}).peak
    assert best.value < 8


def test_an_impossible_mask_is_refused_with_what_is_needed():
    quantifier = Quantifier(*scene(), SPACING)
    with pytest.raises(InputError, match="empty"):
        quantifier.region(np.zeros((44, 44, 44), bool), {})
    with pytest.raises(InputError, match=r"shape \(2, 2, 2\).*\(44, 44, 44\)"):
        quantifier.region(np.ones((2, 2, 2), bool), {})
