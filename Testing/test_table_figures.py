"""The figures of the table, each against what can be worked by hand; intervals, comparisons, medians."""

import numpy as np
import pytest

from training.cases.regions import lesion_masks
from training.evaluation.score import REAL
from training.evaluation.summary import best_baselines, summarise
from training.scores.doses import coverage, dose_scores, with_mixes
from training.scores.hotspots import false_hot_spots
from training.scores.image import GMSD_CONSTANT, WINDOW_SUV, gmsd, image_scores, nrmse
from training.scores.intervals import bootstrap, compare
from training.scores.quantification import Reading, bias, contrast_to_noise, sphere_weights
from training.simulate.tissues import Tissue

MM4 = (4.0, 4.0, 4.0)


def everywhere(volume):
    return np.ones(volume.shape, bool)


# image


def test_gmsd_of_a_ramp_that_is_twice_as_steep_in_half_of_the_volume():
    x = np.arange(40, dtype=np.float32)
    slope = 0.05 * WINDOW_SUV / 40
    real = np.broadcast_to(slope * x, (12, 12, 40)).copy()
    image = real.copy()
    image[..., 20:] = real[..., 19:20] + 2 * slope * (x[20:] - 19)
    mask = np.zeros(real.shape, bool)
    mask[3:9, 3:9, 5:15] = mask[3:9, 3:9, 25:35] = True
    a, b = 4 * slope / WINDOW_SUV, 2 * slope / WINDOW_SUV  # differences of the two neighbours
    other = (2 * a * b + GMSD_CONSTANT) / (a**2 + b**2 + GMSD_CONSTANT)
    assert gmsd(image, real, mask) == pytest.approx((1 - other) / 2, rel=1e-3)
    assert gmsd(real, real, mask) == 0.0


def test_nrmse_is_the_error_over_the_reference_both_as_roots_of_squares():
    real = np.array([3.0, 4.0, 100.0]).reshape(1, 1, 3)
    image = real + np.array([1.0, 2.0, 50.0]).reshape(1, 1, 3)
    mask = np.array([True, True, False]).reshape(1, 1, 3)
    assert nrmse(image, real, mask) == pytest.approx(np.sqrt(5) / 5)


def test_the_two_psnr_differ_by_their_peaks():
    real = np.ones((12, 12, 12), np.float32)
    real[0, 0, 0] = 40.0
    scores = image_scores(real + 0.2, real, everywhere(real))
    assert scores["psnr"] == pytest.approx(40.0, abs=1e-3)
    assert scores["psnr_max"] == pytest.approx(40.0 + 20 * np.log10(2), abs=1e-3)


# organs and lesions


def test_the_sphere_of_one_millilitre_weighs_a_voxel_by_its_volume():
    weights = sphere_weights(1.0, (2.0, 2.0, 2.0))
    middle = tuple(n // 2 for n in weights.shape)
    assert weights.sum() == pytest.approx(1.0)
    assert weights[middle] == pytest.approx(8 / 1000, rel=0.01)
    assert sphere_weights(1.0, (3.0, 2.0, 1.0)).shape == (15, 9, 7)  # 6.2 mm to each side, z, y, x


def test_a_region_is_read_off_as_by_hand():
    image = np.zeros((20, 20, 20), np.float32)
    image[8:12, 8:12, 8:12] = 2.0
    image[9, 9, 9] = 10.0
    mask = image > 0
    read = Reading(image, MM4).lesion(mask)
    assert read["mean"] == pytest.approx((63 * 2 + 10) / 64) and read["max"] == 10.0
    assert read["tlm"] == pytest.approx(10 * 0.064)  # 41 % of the maximum leaves the hot voxel alone
    # All within 6.2 mm of the hot voxel's centre is 2 SUV, but for what lies beyond the cube's near faces.
    lone = np.where(image == 10, image, 0)
    assert Reading(lone, MM4).organ(mask)["peak"] == pytest.approx(10 * 64 / 1000, rel=0.01)
    assert bias({"mean": 3.0}, {"mean": 4.0}) == {"mean": -0.25}


def test_lesions_that_touch_are_told_apart_by_the_nearest_centre_in_radii():
    labels = np.zeros((10, 10, 30), np.uint8)
    labels[4:7, 4:7, 4:20] = Tissue.LESION
    lesions = [
        {"centre": [5, 5, 6], "diameter_mm": 16.0},
        {"centre": [5, 5, 14], "diameter_mm": 48.0},
        {"centre": [0, 0, 29], "diameter_mm": 4.0},
    ]
    first, second, none = lesion_masks(labels, lesions, MM4)
    # Along the row the border lies where (x - 6) / 2 = (14 - x) / 6: at x = 8, three quarters of the way for the large.
    assert first[5, 5, :8].sum() == 4 and second[5, 5, 9:].sum() == 11 and none is None
    assert not (first & second).any() and (first | second).sum() == (labels == Tissue.LESION).sum()


def test_contrast_to_noise_uses_the_host_tissue_around_and_no_other_lesion():
    labels = np.full((24, 24, 24), Tissue.LIVER, np.uint8)
    labels[:, :, 20:] = Tissue.LUNG
    image = np.where(np.indices(labels.shape).sum(axis=0) % 2, 3.0, 1.0)  # 2 +- 1
    image[:, :, 20:] = 50.0
    mask = np.zeros(labels.shape, bool)
    mask[11:13, 11:13, 16:18] = True
    labels[mask] = labels[10:14, 10:14, 12:13] = Tissue.LESION
    image[mask], image[10:14, 10:14, 12:13] = 7.0, 99.0
    seen = contrast_to_noise(image, mask, labels, Tissue.LIVER, MM4)
    assert seen == pytest.approx(5.0, rel=0.02)
    assert contrast_to_noise(image, mask, labels, None, MM4) < 1


# hot spots


@pytest.mark.parametrize(
    ("place", "value", "count"),
    [
        ((slice(10, 12),) * 3, 2.0, 1),  # 0.5 mL, twice its surroundings
        ((slice(10, 12),) * 3, 1.4, 0),  # not hot enough
        ((slice(10, 11),) * 3, 9.0, 0),  # one voxel: noise
        ((slice(20, 22),) * 3, 5.0, 0),  # beside a true hot spot of 4
        ((slice(20, 22),) * 3, 7.0, 1),  # hotter than it by more than half
        ((slice(0, 2),) * 3, 9.0, 0),  # outside the body
    ],
)
def test_false_hot_spots_are_what_the_truth_has_not(place, value, count):
    truth = np.ones((30, 30, 30), np.float32)
    truth[18:20, 18:20, 18:20] = 4.0
    body = everywhere(truth)
    body[:4] = False
    image = truth.copy()
    image[place] = value
    assert false_hot_spots(image, truth, body, MM4) == count


def test_two_spots_count_twice_and_the_truth_itself_has_none():
    truth = np.ones((30, 30, 30), np.float32)
    image = truth.copy()
    image[3:6, 3:6, 3:6] = image[20:23, 3:6, 3:6] = 3.0
    assert false_hot_spots(image, truth, everywhere(truth), MM4) == 2
    assert false_hot_spots(truth, truth, everywhere(truth), MM4) == 0


# doses and uncertainty


def test_each_restored_dose_is_held_against_its_own_real_dose_and_the_mix():
    shape = (2, 2, 2)
    real = {dose: np.full(shape, level) for dose, level in ((0.1, 1.3), (0.5, 1.1), (1.0, 1.0))}
    scan = np.full(shape, 2.0)
    images = {0.5: np.full(shape, 1.28), 1.0: np.full(shape, 1.0)}
    half, full = dose_scores(images, scan, 0.1, real, everywhere(scan))
    assert half["dose"] == 0.5 and half["nmae"] == pytest.approx(0.18 / 1.1)
    # share of the scan at 1/2 from 1/10: (2 - 1) / (10 - 1)
    assert half["interpolated_nmae"] == pytest.approx(abs(2 / 9 + 8 / 9 - 1.1) / 1.1)
    assert half["nearest_dose"] == 0.1 and not half["nearest_is_own"]
    assert full["nmae"] == full["interpolated_nmae"] == 0 and full["nearest_is_own"]
    assert not half["nearest_of_restored"] and full["nearest_of_restored"]


def test_the_best_estimates_are_the_nearest_to_their_real_doses_which_are_not_nearest_to_them():
    """docs/benchmark.md: nested doses of independent parts, and the estimates that know the truth and the scan."""
    parts = 1 + np.random.default_rng(0).normal(size=(20, 30, 30, 30))
    real = {1 / m: parts[: 20 // m].mean(axis=0) for m in (10, 4, 2)} | {1.0: parts.mean(axis=0)}
    images = with_mixes(parts[0], 0.05, 1 + (parts[0] - 1) / 20)  # a twentieth of full dose's noise is the scan's
    rows = dose_scores(images, parts[0], 0.05, real, everywhere(parts[0]))
    assert [row["nearest_of_restored"] for row in rows] == [True] * 4
    assert [row["nearest_dose"] for row in rows[1:]] == [1.0] * 3


def test_coverage_of_a_gaussian_with_the_right_deviation_is_90_percent():
    error = np.random.default_rng(0).standard_normal((40, 40, 40))
    zero, body = np.zeros_like(error), everywhere(error)
    assert coverage(error, zero + 1, zero, body) == pytest.approx(0.9, abs=0.005)
    assert coverage(error, zero + 0.5, zero, body) == pytest.approx(0.589, abs=0.01)


# statistics


def test_the_bootstrap_interval_is_that_of_the_mean():
    values = np.random.default_rng(0).standard_normal(400) + 3
    interval = bootstrap(values)
    assert interval.mean == pytest.approx(values.mean())
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.06)
    assert bootstrap([2.0, 2.0]) == bootstrap([2.0]) and bootstrap([2.0]).low == 2.0


def test_six_subjects_all_better_is_wilcoxons_smallest_p():
    result = compare([2, 3, 4, 5, 6, 7], [1.0, 1.9, 2.8, 3.7, 4.6, 5.5])
    assert result.p == pytest.approx(2 / 2**6) and result.difference.mean == pytest.approx(1.25)
    assert compare([1, 2], [1, 2]).p == 1.0


def record(method, case, nmae, dose=0.05, scanner="internal", **more):
    image = {"psnr_max": 1.0, "psnr": 40 - nmae, "ssim": 1.0, "nmae": nmae, "nrmse": 1.0, "gmsd": 1.0}
    costs = {"seconds": 2.0, "peak_gb": 1.0, "evaluations": 3}
    empty = {"doses": [], "coverage": None, "organs": [], "lesions": [], "false_hot_spots": 4, "liver_noise": None}
    empty |= {"challenge": {}, "free_response": None}
    keys = {"method": method, "case": case, "scanner": scanner, "input_dose": dose}
    return keys | {"image": image} | costs | empty | more


def test_our_method_is_compared_with_the_best_baseline_of_each_figure():
    values = {"input": (0, 0), "A": (3, 5), "B": (4, 6), "MAP-Diff (x)": (2, 5), REAL: (0, 0)}
    records = [record(name, case, v[case]) for name, v in values.items() for case in (0, 1)]
    nmae = next(row for row in best_baselines(records) if row["figure"] == "nmae")
    assert nmae["best_baseline"] == "A" and nmae["ours"] == "MAP-Diff (x)"
    assert (nmae["mean"], nmae["low"], nmae["high"], nmae["cases"]) == (-0.5, -1.0, 0.0, 2)
    psnr = next(row for row in best_baselines(records) if row["figure"] == "psnr")
    assert psnr["mean"] == 0.5


def test_the_summary_tells_large_lesions_from_small_ones_and_takes_medians():
    def lesion(size, value, contrast):
        biases = dict.fromkeys(("mean", "max", "peak", "tlm"), value)
        return {"diameter_mm": size, "contrast_to_noise": contrast, **biases}

    lesions = [lesion(12, -0.2, 5.0), lesion(20, 0.1, 2.0), lesion(30, 0.4, -9.0), lesion(8, -0.9, float("nan"))]
    rows = [record("A", 0, 1.0, lesions=lesions, false_hot_spots=3), record("A", 1, 2.0, false_hot_spots=6)]
    figures = summarise([*rows, record(REAL, 0, 0.0, dose=None)])["internal"]["1/20"]
    large = figures["A"]["lesions"]
    assert large["count"] == 3 and large["mean"] == {"median_bias": 0.1, "median_abs_bias": 0.2}
    assert large["contrast_to_noise"] == 5.0 and large["seen"] == pytest.approx(2 / 3)
    assert figures["A"]["small_lesions"]["count"] == 1 and figures["A"]["small_lesions"]["seen"] is None
    assert figures["A"]["false_hot_spots"] == 4.5 and figures["A"]["nmae"]["mean"] == 1.5
    assert figures[REAL]["false_hot_spots"] == 4
