"""The UDPET challenge's score: its published weights, and each part on volumes worked out by hand."""

import csv
import json
import math

import numpy as np
import pytest
import SimpleITK as sitk

from MAPDiffLib.errors import InputError
from MAPDiffLib.scan.volume import Volume, write_volume
from training.cases.case_file import dose_file
from training.cases.regions import lesion_regions, organ_regions
from training.evaluation.case import TestCase
from training.evaluation.challenge_table import challenge_scores, format_challenge
from training.evaluation.report import write_table
from training.evaluation.score import REAL, challenge_figures
from training.simulate.tissues import Tissue
from training.udpet import challenge_score as challenge
from training.udpet.challenge_score import DRF_WEIGHTS, challenge_score, drf_score, global_figures, region_errors
from training.udpet.radiomics import FEATURES

SHAPE = (8, 8, 8)


@pytest.fixture
def full():
    """1 everywhere, 5 in a cube of 4 x 4 x 4, 0 in one corner: the range is the maximum."""
    voxels = np.ones(SHAPE, np.float32)
    voxels[2:6, 2:6, 2:6] = 5.0
    voxels[0, 0, 0] = 0.0
    return voxels


@pytest.fixture
def cube():
    region = np.zeros(SHAPE, bool)
    region[2:6, 2:6, 2:6] = True
    return region


def test_the_weights_are_the_published_ones():
    assert challenge.GROUP_WEIGHTS == {"global": 0.30, "organs": 0.35, "lesions": 0.35}
    assert challenge.GLOBAL_WEIGHTS == {"NRMSE": 0.30, "PSNR": 0.30, "SSIM": 0.40}
    assert DRF_WEIGHTS == {4: 0.05, 10: 0.15, 20: 0.20, 50: 0.25, 100: 0.35}
    parts = dict(challenge.REGION_WEIGHTS)
    assert [parts.pop(feature) for feature in FEATURES] == [0.05] * 6
    assert parts == {"SUVmax": 0.25, "SUVmean": 0.20, "TotalLesionMetabolism": 0.15, "PSNR": 0.10}
    for weights in (challenge.GROUP_WEIGHTS, challenge.GLOBAL_WEIGHTS, challenge.REGION_WEIGHTS, DRF_WEIGHTS):
        assert sum(weights.values()) == pytest.approx(1)


def test_global_figures_of_an_image_off_by_a_twentieth_of_the_maximum(full):
    nrmse, psnr_db, _ = global_figures(full + 0.25, full)
    assert nrmse == pytest.approx(0.05) and psnr_db == pytest.approx(20 * math.log10(20))


def test_nrmse_is_by_the_range_and_psnr_by_the_maximum(full):
    nrmse, psnr_db, _ = global_figures(full + 1.5, full + 1)  # from 1 to 6, off by a half
    assert nrmse == pytest.approx(0.5 / 5) and psnr_db == pytest.approx(20 * math.log10(6 / 0.5))


def test_ssim_compares_both_images_scaled_to_their_own_maximum(full):
    assert global_figures(3 * full, full)[2] == pytest.approx(1.0)
    noise = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    assert global_figures(full + noise, full)[2] < 0.9


def test_ssim_of_two_flat_images_apart_from_one_voxel_each_is_worked_by_hand():
    """One 7 x 7 x 7 window of 343 voxels; a and b are 1 at one place each and elsewhere 0.5."""
    a, b = np.full((7, 7, 7), 0.5, np.float32), np.full((7, 7, 7), 0.5, np.float32)
    a[3, 3, 3], b[0, 0, 0] = 1.0, 1.0
    mean = 0.5 + 0.5 / 343
    variance = (0.25 / 343 - (0.5 / 343) ** 2) * 343 / 342
    covariance = -((0.5 / 343) ** 2) * 343 / 342
    c1, c2 = 0.01**2, 0.03**2
    expected = (2 * mean**2 + c1) * (2 * covariance + c2) / ((2 * mean**2 + c1) * (2 * variance + c2))
    assert global_figures(a, b)[2] == pytest.approx(expected, rel=1e-4)


def test_global_errors_are_in_per_cent():
    errors = challenge.global_errors(nrmse=0.03, psnr_db=40.0, ssim=0.98)
    assert errors == pytest.approx({"NRMSE": 3.0, "PSNR": 1.0, "SSIM": 2.0})
    assert challenge.weighted(errors, challenge.GLOBAL_WEIGHTS) == pytest.approx(0.9 + 0.3 + 0.8)


def test_a_lesion_a_fifth_too_hot(full, cube):
    errors = region_errors(np.where(cube, 6.0, full).astype(np.float32), full, cube, voxel_ml=0.1)
    assert errors["SUVmax"] == errors["SUVmean"] == pytest.approx(20)
    assert errors["TotalLesionMetabolism"] == pytest.approx(20)
    assert errors["PSNR"] == pytest.approx(20)  # RMSE 1 of a peak of 5
    assert [errors[part] for part in ("RootMeanSquared", "90Percentile", "Median")] == pytest.approx([20, 20, 20])
    # The texture of a flat region is the same at every level.
    texture = [errors[part] for part in ("HighGrayLevelRunEmphasis", "ZonePercentage", "JointAverage")]
    assert texture == pytest.approx([0, 0, 0])
    assert challenge.weighted(errors, challenge.REGION_WEIGHTS) == pytest.approx(20 * 0.85)


def test_metabolism_is_the_mean_times_the_volume(full, cube):
    assert challenge.region_figures(full, cube, 0.1)["TotalLesionMetabolism"] == pytest.approx(5 * 64 * 0.1)


def test_one_hot_voxel_changes_the_maximum_more_than_the_mean(full, cube):
    image = full.copy()
    image[2, 2, 2] = 7.5
    errors = region_errors(image, full, cube, 0.1)
    assert errors["SUVmax"] == pytest.approx(50) and errors["SUVmean"] == pytest.approx(50 / 64)
    assert errors["PSNR"] == pytest.approx(100 * math.sqrt(2.5**2 / 64) / 5)
    assert errors["Median"] == errors["90Percentile"] == 0
    assert errors["ZonePercentage"] == pytest.approx(100 * (2 / 64 - 1 / 64) / (1 / 64))


def test_an_error_counts_at_most_a_hundred_per_cent(full, cube):
    errors = region_errors(10 * full, full, cube, 0.1)
    assert errors["SUVmax"] == 100 and max(errors.values()) == 100


def test_the_full_dose_scan_itself_scores_a_hundred(full, cube):
    score = challenge_score(full, full, {"liver": cube}, {"lesion 1": cube}, 0.1)
    assert score.value == pytest.approx(100)
    assert score.groups == pytest.approx({"global": 100, "organs": 100, "lesions": 100})
    assert score.psnr_db == math.inf and score.nrmse == 0


def test_the_groups_are_weighted_and_the_regions_of_a_group_averaged(full, cube):
    image = np.where(cube, 6.0, full).astype(np.float32)
    corner = np.zeros(SHAPE, bool)
    corner[6:, 6:, 6:] = True  # 1 in both images: no error
    score = challenge_score(image, full, {"liver": cube, "heart": corner}, {"lesion 1": cube}, 0.1)
    assert score.groups["lesions"] == pytest.approx(100 - 17)
    assert score.groups["organs"] == pytest.approx(100 - 17 / 2)
    expected = 0.30 * score.groups["global"] + 0.35 * (100 - 8.5) + 0.35 * (100 - 17)
    assert score.value == pytest.approx(expected)


def test_without_lesions_the_other_groups_share_their_weight(full, cube):
    image = np.where(cube, 6.0, full).astype(np.float32)
    score = challenge_score(image, full, {"liver": cube}, {}, 0.1)
    assert set(score.groups) == {"global", "organs"}
    assert score.value == pytest.approx((0.30 * score.groups["global"] + 0.35 * 83) / 0.65)


def test_the_doses_are_weighted_towards_the_lowest():
    scores = {4: 100.0, 10: 90.0, 20: 80.0, 50: 70.0, 100: 60.0}
    assert drf_score(scores) == pytest.approx(5 + 13.5 + 16 + 17.5 + 21)
    with pytest.raises(InputError, match="DRF"):
        drf_score({4: 1.0})


def test_unlike_small_and_constant_volumes_are_refused(full):
    with pytest.raises(InputError, match="shapes differ"):
        global_figures(full[1:], full)
    with pytest.raises(InputError, match="at least 7 voxels"):
        global_figures(full[:4], full[:4])
    with pytest.raises(InputError, match="constant"):
        global_figures(full, np.ones_like(full))


def save_labels(labels, path):
    sitk.WriteImage(sitk.GetImageFromArray(labels), str(path))


@pytest.fixture
def case(tmp_path, full):
    """A case of every dose: the lower the dose, the more too hot the cube."""
    folder = tmp_path / "case"
    folder.mkdir()
    for dose, cube_suv in ((1.0, 5.0), (0.25, 5.5), (0.1, 6.0), (0.05, 6.5), (0.02, 7.0), (0.01, 7.5)):
        voxels = np.where(full == 5, cube_suv, full)
        write_volume(Volume(voxels, (2.0, 2.0, 2.0), units="SUVbw"), folder / dose_file(dose))
    (folder / "case.json").write_text(json.dumps({"spacing_mm": [2, 2, 2]}))
    return folder


def test_the_phantoms_labels_give_organs_by_side_and_each_lesion(tmp_path):
    labels = np.full((6, 9, 20), Tissue.MUSCLE, np.uint8)
    labels[1:5, 1:5, 1:5] = Tissue.KIDNEY_CORTEX
    labels[1:5, 1:5, 14:18] = Tissue.KIDNEY_MEDULLA
    labels[1:5, 5:9, 5:9] = Tissue.LIVER
    labels[1:5, 5:9, 1:4] = Tissue.SPLEEN  # 48 voxels: too few to say something of it
    labels[1:3, 4:6, 10:12] = labels[4:6, 7:9, 17:19] = Tissue.LESION
    labels[5, 0, 0] = Tissue.LESION
    save_labels(labels, tmp_path / "labels.nii.gz")
    organs = organ_regions(tmp_path, labels.shape)
    assert {name: int(region.sum()) for name, region in organs.items() if name != "muscle"} == {
        "liver": 64, "kidney_cortex": 64, "right kidney": 64, "left kidney": 64,
    }  # fmt: skip
    assert organs["right kidney"][1:5, 1:5, 1:5].all() and organs["left kidney"][1:5, 1:5, 14:18].all()
    lesions = lesion_regions(tmp_path, labels.shape, (2.0, 2.0, 4.0))
    assert sorted(int(lesion.mask.sum()) for lesion in lesions) == [1, 8, 8]
    assert max(lesion.diameter_mm for lesion in lesions) == pytest.approx((6 * 8 * 16 / np.pi) ** (1 / 3))
    write_volume(Volume(np.ones(labels.shape, np.float32), (2.0, 2.0, 4.0)), tmp_path / dose_file(1.0))
    organs, lesions = TestCase(tmp_path).challenge_regions
    assert list(organs) == ["liver", "right kidney", "left kidney"]
    assert [int(region.sum()) for region in lesions.values()] == [8, 8]  # one voxel is too small to judge


def test_a_real_subjects_masks_count_before_the_phantoms(case, cube):
    save_labels(np.where(cube, 3, 0).astype(np.uint8), case / "organs.nii.gz")
    save_labels(np.where(cube, 1, 0).astype(np.uint8), case / "lesions.nii.gz")
    save_labels(np.full(SHAPE, Tissue.LIVER, np.uint8), case / "labels.nii.gz")
    assert list(organ_regions(case, SHAPE)) == ["right kidney"]
    (lesion,) = lesion_regions(case, SHAPE, (2.0, 2.0, 2.0))
    assert np.array_equal(lesion.mask, cube)
    with pytest.raises(InputError, match="shape"):
        organ_regions(case, (9, 8, 8))
    (case / "organs.nii.gz").write_bytes(b"no image")
    with pytest.raises(InputError, match="organs.nii.gz could not be read"):
        organ_regions(case, SHAPE)


def record(case, dose, method="input"):
    """What `evaluate` keeps of the scan itself, in the parts that this score is about."""
    image = dict.fromkeys(("psnr_max", "psnr", "ssim", "nmae", "nrmse", "gmsd"), 1.0)
    keys = {"method": method, "case": case.name, "scanner": case.scanner, "input_dose": dose, "image": image}
    empty = {"doses": [], "coverage": None, "organs": [], "lesions": [], "false_hot_spots": 0, "liver_noise": None}
    costs = {"seconds": 1.0, "peak_gb": 1.0, "evaluations": 0, "free_response": None}
    return keys | empty | costs | {"challenge": challenge_figures(case.scan(dose).voxels, case)}


def test_a_case_without_labels_is_judged_as_a_whole_image_only(case, tmp_path):
    assert organ_regions(case, SHAPE) == {} and lesion_regions(case, SHAPE, (2.0, 2.0, 2.0)) == []
    records = [record(TestCase(case), 1 / drf) for drf in DRF_WEIGHTS]
    table = challenge_scores(write_table(records, tmp_path / "out", {})["means"]["internal"])
    assert set(table["input"]) == {"DRF 4", "DRF 10", "DRF 20", "DRF 50", "DRF 100", "all", "global"}


def test_the_table_scores_every_dose_and_keeps_every_part(case, cube, tmp_path):
    save_labels(np.where(cube, 1, 0).astype(np.uint8), case / "lesions.nii.gz")
    records = [record(TestCase(case), 1 / drf, method) for drf in DRF_WEIGHTS for method in ("input", "again")]
    records.append({"method": REAL, "case": "case", "scanner": "internal", "input_dose": None, "organs": [],
                    "lesions": [], "false_hot_spots": 0, "liver_noise": None, "free_response": None})  # fmt: skip
    means = write_table(records, tmp_path / "out", {})["means"]
    table = challenge_scores(means["internal"])
    assert table["again"] == table["input"] and REAL not in table
    # The cube is 10, 20, 30, 40, 50 per cent too hot; flat regions cost 85 % of that.
    by_drf = {4: 8.5, 10: 17.0, 20: 25.5, 50: 34.0, 100: 42.5}
    assert table["input"]["lesions"] == pytest.approx(
        100 - sum(DRF_WEIGHTS[drf] * loss for drf, loss in by_drf.items())
    )
    assert table["input"]["DRF 4"] > table["input"]["DRF 100"]
    with (tmp_path / "out" / "challenge.csv").open() as file:
        found = [row for row in csv.DictReader(file) if (row["method"], row["input_dose"]) == ("input", "0.05")]
    assert float(found[0]["lesions SUVmax"]) == pytest.approx(30) and "organs SUVmax" not in found[0]
    assert [line.split()[0] for line in format_challenge(means).splitlines()[2:]] == ["method", "input", "again"]


def test_from_some_of_the_doses_there_is_a_score_of_each_and_none_of_all(case):
    one = {"challenge": {"score": 80.0, "global": 80.0}}
    assert challenge_scores({"1/20": {"input": one}, "1/3": {"input": one}}) == {"input": {"DRF 20": 80.0}}
    assert challenge_scores({"1/20": {"input": {"nmae": {}}}}) == {} and format_challenge({"internal": {}}) == ""
