"""Recovered contrast and the signal-to-noise of lesions, on images whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from training.evaluation.figures import draw_figures
from training.evaluation.report import format_lesions
from training.evaluation.summary import summarise
from training.scores.contrast import CLASSES, LesionSite, class_of, recovered

SPACING = (4.0, 4.0, 4.0)


@pytest.fixture
def site():
    """A ball of 16 mm in the middle of a cube of 40 voxels that is all body."""
    z, y, x = np.ogrid[:40, :40, :40]
    mask = (z - 20) ** 2 + (y - 20) ** 2 + (x - 20) ** 2 <= 4
    return LesionSite.of(mask, mask, np.ones(mask.shape, bool), SPACING, 16.0)


def with_lesion(site, background=1.0, lesion=5.0):
    image = np.full((40, 40, 40), background, np.float32)
    image[site.box][site.mask] = lesion
    return image


@pytest.mark.parametrize(("lesion", "expected"), [(5.0, 1.0), (3.0, 0.5), (1.0, 0.0), (9.0, 2.0)])
def test_recovered_contrast_is_that_of_the_real_full_dose(site, lesion, expected):
    full = with_lesion(site)
    assert recovered(site, 7.0 + with_lesion(site, lesion=lesion), full) == pytest.approx(expected)


def test_a_lesion_that_the_real_full_dose_hardly_shows_has_no_contrast_to_recover(site):
    assert np.isnan(recovered(site, with_lesion(site), with_lesion(site, lesion=1.05)))


def test_other_lesions_and_air_are_not_a_lesion_s_surroundings():
    mask, others, body = (np.zeros((40, 40, 40), bool) for _ in range(3))
    mask[18:22, 18:22, 18:22] = True
    others[:, :, 24:] = True
    body[10:30, 10:30, 10:30] = True
    site = LesionSite.of(mask, mask | others, body, SPACING, 20.0)
    image = np.where(others, 50.0, np.where(body, 1.0, -9.0)).astype(np.float32)
    image[mask] = 4.0
    assert site.contrast(image) == pytest.approx(3.0)


def test_signal_to_noise_is_the_contrast_over_the_deviation_of_means_over_the_lesion_s_own_shape(site):
    rng = np.random.default_rng(0)
    free = with_lesion(site)
    scan = free + rng.normal(0, 0.5, free.shape)
    means_vary_by = 0.5 / np.sqrt(site.mask.sum())  # white noise
    assert site.signal_to_noise(scan, free) == pytest.approx(4.0 / means_vary_by, rel=0.1)


def test_classes_hold_their_lower_end_and_nothing_below_the_first():
    assert [class_of(value, CLASSES) for value in (1.9, 2.0, 5.9, 6.0, 10.0, 99.0)] == [
        None, "2-4", "4-6", "6-10", "over 10", "over 10",
    ]  # fmt: skip


def record(method, nmae, recoveries):
    image = dict.fromkeys(("psnr_max", "psnr", "ssim", "nrmse", "gmsd"), 1.0) | {"nmae": nmae}
    shared = {"host": "", "suv": 1.0, "peak": 0.0, "tlm": 0.0, "contrast_to_noise": 1.0}
    lesions = [
        {"snr": snr, "recovered": part, "diameter_mm": 10.0, "mean": part - 1, "max": part - 1, **shared}
        for snr, part in recoveries
    ]
    return {
        "scanner": "internal", "input_dose": 0.05, "method": method, "case": "a", "image": image, "doses": [],
        "coverage": None, "lesions": lesions, "organs": [], "false_hot_spots": 0, "liver_noise": None,
        "seconds": 1.0, "peak_gb": 1.0, "challenge": {}, "free_response": None,
        "evaluations": 1,
    }  # fmt: skip


def test_the_table_and_the_trade_off_s_figure_show_the_median_of_each_class(tmp_path):
    records = [
        record("input", 0.3, [(7.0, 1.0), (8.0, 0.9), (9.0, 1.1), (12.0, 1.0), (1.0, 9.0)]),
        record("MAP-Diff (x)", 0.1, [(7.0, 0.5), (8.0, 0.6), (9.0, float("nan")), (12.0, 0.9), (1.0, 9.0)]),
    ]
    table = {"means": summarise(records)}
    figures = table["means"]["internal"]["1/20"]["MAP-Diff (x)"]
    assert figures["recovery"] == {
        "6-10": {"count": 2, "median": pytest.approx(0.55)}, "over 10": {"count": 1, "median": 0.9},
    }  # fmt: skip
    assert set(figures["by_size"]) == {"9-13"} and figures["by_size"]["9-13"]["count"] == 5
    told = format_lesions(table["means"]).splitlines()
    assert "recovered by SNR" in told[1] and told[-1].startswith("MAP-Diff (x)") and "0.55" in told[-1]
    assert "recovery.png" in [path.name for path in draw_figures(table, records, tmp_path)]
