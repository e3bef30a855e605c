"""Patches on other voxels, of other doses and behind other post-filters are what such scans would have been."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from MAPDiffLib.errors import InputError
from MAPDiffLib.restoration.intensity import Intensity
from MAPDiffLib.restoration.noise import measure_noise
from MAPDiffLib.restoration.working_grid import resampled
from MAPDiffLib.scan.volume import read_volume, write_volume
from Testing import tiny
from training.baselines.config import BaselineConfig
from training.cases.augmentation import (
    AS_THEY_ARE,
    COARSEST_ZOOM,
    FILTERS_MM,
    FINEST_ZOOM,
    LOUDEST,
    Variety,
    filter_sigmas,
    nested_shares,
    post_filter,
)
from training.cases.cache import CachedCase
from training.cases.case_file import ALL_DOSES, NOISE_FREE_FILE, read_dose
from training.cases.patches import LESION_WEIGHT, PatchSource, _parts, _share
from training.config import TrainConfig
from training.simulate.scanner import blur


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return tiny.tiny_case(tmp_path_factory.mktemp("cases") / "case")


@pytest.mark.parametrize("dose", [0.05, 0.06, 0.0707, 0.09, 0.1])
def test_two_nested_scans_make_one_with_the_noise_of_a_dose_between_them(dose):
    """Exactly: of a low dose L and independent counts R up to H, variances 1/L and 1/R; full dose is their mean."""
    low, high = 0.05, 0.1
    a, b = nested_shares(low, dose, high)
    assert a + b == pytest.approx(1)
    in_low, in_rest = a + b * low / high, b * (high - low) / high  # what of each part's counts is in the sum
    assert in_low**2 / low + in_rest**2 / (high - low) == pytest.approx(1 / dose)
    # In full dose a part counts by its dose: the covariance is (in_low + in_rest) times full dose's variance, 1.
    assert in_low / low * low + in_rest / (high - low) * (high - low) == pytest.approx(1)
    assert min(a, b) >= -1e-9


def test_the_post_filter_is_the_simulators(case):
    images = np.stack([read_dose(case, dose).voxels for dose in (0.05, 1.0)])
    sigmas = (0.0, 0.4, 1.3)
    ours = post_filter(torch.from_numpy(images), sigmas).numpy()
    theirs = np.stack([blur(image, sigmas) for image in images])
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_a_filtered_patch_is_the_filtered_scan_with_its_filtered_target(case):
    source = PatchSource([case], 16, {0.05: 1.0}, seed=1, variety=replace(AS_THEY_ARE, filtered=1.0))
    plain = PatchSource([case], 16, {0.05: 1.0}, seed=1)
    draw = source._draw(np.random.default_rng([1, 0, 0]))
    cached = CachedCase.open(case)
    window = tuple(slice(a + 5, b - 5) for a, b in draw.window)  # away from the border, which the filter cannot know
    batch = source.batch(0, [0])
    inner, sigmas = (slice(5, -5),) * 3, filter_sigmas(FILTERS_MM[draw.filter], cached.spacing_mm)
    images = np.tensordot(draw.parts, cached.doses.astype(np.float32), axes=1)
    for got, image in zip((batch.scan[0, 0], batch.ladder[0, -1]), images, strict=True):
        flips = [axis - 1 for axis in draw.flips]
        expected = Intensity(draw.scale).to_network(torch.from_numpy(blur(image, sigmas)[window]))
        torch.testing.assert_close(got.flip(flips)[inner], expected, rtol=0, atol=2e-3)
    assert draw.filter > 0
    several, rough = (each.batch(0, range(8)).scan.diff(dim=2).abs().median() for each in (source, plain))
    assert several < 0.8 * rough


def test_a_patch_is_told_the_noise_that_the_whole_scan_has_behind_its_filter_on_its_voxels(case):
    source = PatchSource([case], 16, {0.05: 1.0}, seed=1, variety=replace(AS_THEY_ARE, filtered=0.5, zoomed=0.5))
    scan = read_dose(case, 0.05)
    for item in range(12):
        draw = source._draw(np.random.default_rng([1, 0, item]))
        sigmas = filter_sigmas(FILTERS_MM[draw.filter], scan.spacing_mm)
        filtered = post_filter(torch.from_numpy(scan.voxels)[None], sigmas)[0]
        noise = measure_noise(filtered, read_dose(case, 1.0).body, scan.spacing_mm)
        level, axial, plane = noise.in_voxels(scan.spacing_mm)
        finer = 16 / (draw.window[0][1] - draw.window[0][0])
        assert draw.noise == pytest.approx((level, axial * finer, plane * finer), rel=0.05)
    told = source.batch(0, range(12)).noise
    assert told.shape == (12, 3) and len(told[:, 0].unique()) > 2


def test_a_level_is_misread_by_as_much_as_is_said_and_all_else_stays(case):
    right, wrong = (
        PatchSource([case], 16, {0.05: 1.0}, seed=1, variety=replace(AS_THEY_ARE, misread=misread)).batch(0, range(200))
        for misread in (0.0, 0.3)
    )
    off = (wrong.noise[:, 0] / right.noise[:, 0]).log()
    assert abs(off.mean()) < 0.07 and 0.25 < off.std() < 0.35
    assert torch.equal(right.noise[:, 1:], wrong.noise[:, 1:]) and torch.equal(right.scan, wrong.scan)


def test_noise_behind_a_filter_is_louder_by_what_is_told_and_the_target_stays(case, tmp_path):
    with_one = tiny.tiny_case(tmp_path / "case")
    write_volume(read_volume(with_one / "truth.nii.gz"), with_one / NOISE_FREE_FILE)
    plain, loud = (
        PatchSource([with_one], 16, {0.05: 1.0}, seed=1, variety=replace(AS_THEY_ARE, filtered=0.8, louder=louder))
        for louder in (0.0, 1.0)
    )
    seen = set()
    for i in range(20):
        was, now = (source._draw(np.random.default_rng([1, 0, i])) for source in (plain, loud))
        gain = now.noise[0] / was.noise[0]
        seen.add(round(gain, 3))
        assert gain == pytest.approx(now.gain) and was.gain == 1.0 and 1.0 <= gain <= LOUDEST
        assert (gain > 1.0) == (now.filter > 0)
        here, there = plain.batch(0, [i]), loud.batch(0, [i])
        noises = [Intensity(was.scale).to_physical(b.scan) - Intensity(was.scale).to_physical(b.ladder[:, -1:])
                  for b in (here, there)]  # fmt: skip
        torch.testing.assert_close(noises[1], gain * noises[0], rtol=1e-3, atol=1e-3)
        assert torch.equal(here.ladder[:, -1], there.ladder[:, -1])
    assert len(seen) > 5
    # A full-dose target has noise of its own: as part of the scan's it could be learnt.
    without = PatchSource([case], 16, {0.05: 1.0}, seed=1, variety=replace(AS_THEY_ARE, filtered=1.0, louder=1.0))
    assert without._draw(np.random.default_rng([1, 0, 0])).gain == 1.0


def test_the_target_is_the_noise_free_image_where_a_case_has_one(case, tmp_path):
    with_one = tiny.tiny_case(tmp_path / "case")
    truth = read_volume(with_one / "truth.nii.gz")
    write_volume(truth, with_one / NOISE_FREE_FILE)
    source = PatchSource([with_one], 16, {0.05: 1.0}, seed=1)
    draw = source._draw(np.random.default_rng([1, 0, 0]))
    assert draw.parts[1].tolist() == [0] * len(ALL_DOSES) + [1]
    batch = source.batch(0, range(8))
    values = batch.ladder[:, -1][batch.weight[:, 0] > 0.9]
    assert len(values.round(decimals=2).unique()) <= 20 * 3  # two activities, each scaled by its scan's own mean
    # Lower anchors hold the scan's own counts: nearer to it, the lower they are.
    away = [(batch.ladder[:, k] - batch.scan[:, 0]).abs().mean() for k in range(4)]
    assert away[0] < away[1] < away[2] < away[3]


def test_many_patches_lie_around_lesions_whose_voxels_weigh_more(case):
    source = PatchSource([case], 16, {0.05: 1.0}, seed=1)
    (middle,) = np.unravel_index(source.cases[0].lesion_voxels, source.cases[0].body.shape)[0:1]
    assert len(middle) == 1
    batch = source.batch(0, range(40))
    lesion = batch.weight > 2 * (1 + 4.0)  # no other voxel can weigh as much
    assert 0.3 < (lesion.flatten(1).any(dim=1)).float().mean()
    plain = PatchSource([case], 16, {0.05: 1.0}, seed=1, lesion_weight=1.0).batch(0, range(40))
    torch.testing.assert_close(batch.weight[lesion], LESION_WEIGHT * plain.weight[lesion])
    torch.testing.assert_close(batch.weight[~lesion], plain.weight[~lesion])


def test_doses_between_two_input_doses_are_drawn_only_where_asked_and_never_above_the_highest(case):
    doses = {0.02: 0.5, 0.1: 0.5}
    plain = PatchSource([case], 16, doses, seed=1)
    between = PatchSource([case], 16, doses, seed=1, variety=replace(AS_THEY_ARE, between=0.5))
    plain, between = (
        np.array([source._draw(np.random.default_rng([1, 0, item])).dose for item in range(64)])
        for source in (plain, between)
    )
    assert set(plain.tolist()) == {0.02, 0.1}
    new = between[(between > 0.021) & (between < 0.099)]
    assert 8 <= len(new) <= 24 and len(set(new)) == len(new) and between.max() <= 0.1
    assert (new < 0.045).any() and (new > 0.045).any()  # on both sides of the cached 1/20 dose


@pytest.mark.parametrize("dose", [0.02, 0.03, 0.05, 0.2, 0.6])
def test_without_a_noise_free_image_the_target_s_noise_is_independent_of_the_scan_s(dose):
    """Covariances of nested scans are 1 / the higher dose: the scan has its dose's variance, the target none of it."""
    doses = np.array(ALL_DOSES)
    covariances = 1 / np.maximum(doses[:, None], doses[None, :])
    scan, target = _parts(dose, len(ALL_DOSES)).astype(float)
    assert scan @ covariances @ scan == pytest.approx(1 / dose, rel=1e-5)
    assert scan.sum() == pytest.approx(1) and target.sum() == pytest.approx(1)
    if dose <= 0.5:  # of more than half of full dose's counts too little is left
        assert scan @ covariances @ target == pytest.approx(0, abs=1e-4 / dose)


def test_anchors_hold_the_scan_s_own_share_of_their_counts():
    assert [_share(0.05, anchor) for anchor in (0.1, 0.25, 0.5, 1.0)] == pytest.approx([0.5, 0.2, 0.1, 0.0])
    assert [_share(0.3, anchor) for anchor in (0.1, 0.25, 0.5, 1.0)] == pytest.approx([0.6, 0.6, 0.6, 0.0])


def test_what_is_drawn_keeps_within_its_bounds():
    rng, variety = np.random.default_rng(0), Variety(zoomed=0.5, between=0.5, filtered=0.5)
    zooms = np.array([variety.zoom(rng) for _ in range(400)])
    changed = zooms[zooms != 1.0]
    assert 150 < len(changed) < 250 and changed.min() >= COARSEST_ZOOM and changed.max() <= FINEST_ZOOM
    assert (changed < 1).sum() > 10
    numbers = np.array([variety.filter(rng) for _ in range(400)])
    assert 150 < (numbers > 0).sum() < 250 and set(numbers) == set(range(len(FILTERS_MM)))
    widths = np.array(filter_sigmas((4.0, 7.0), (2.0, 2.0, 4.0))) * 2.3548 * (4.0, 2.0, 2.0)
    assert widths == pytest.approx([4.0, 7.0, 7.0])


@pytest.mark.parametrize("length", [27, 40, 64])
def test_noise_is_as_large_between_two_voxels_as_on_them(length):
    """A told level holds for a zoomed patch too: linear interpolation would take a quarter of it."""
    noise = post_filter(torch.randn((1, 40, 40, 40), generator=torch.Generator().manual_seed(0)), (0.9, 0.9, 0.9))[0]
    finer = resampled(noise, (length,) * 3)
    assert finer.shape == (length,) * 3 and finer.std().item() == pytest.approx(noise.std().item(), rel=0.08)


@pytest.mark.parametrize("config", [TrainConfig, BaselineConfig])
def test_a_share_outside_its_bounds_is_refused_for_our_model_and_for_a_baseline(config):
    with pytest.raises(InputError, match="filtered is 1.5; 0 to 1 is needed"):
        config.from_json('{"variety": {"filtered": 1.5}}')
    assert config.from_json('{"variety": {"filtered": 0}}').variety == replace(config().variety, filtered=0)
    with pytest.raises(InputError, match="variety: .'filterd'. are no settings of it"):
        config.from_json('{"variety": {"filterd": 0}}')
