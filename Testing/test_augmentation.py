"""Patches on other voxels, of other doses and behind other post-filters are what such scans would have been."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from MAPDiffLib.errors import InputError
from MAPDiffLib.restoration.intensity import Intensity
from Testing import tiny
from training.baselines.config import RivalConfig
from training.cases.augmentation import (
    COARSEST_ZOOM,
    FINEST_ZOOM,
    WIDEST_FILTER_MM,
    Variety,
    nested_shares,
    post_filter,
)
from training.cases.cache import CachedCase
from training.cases.case_file import ALL_DOSES, read_dose
from training.cases.patches import PatchSource, _parts
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


def test_a_filtered_patch_is_the_filtered_scan_with_filtered_anchors(case):
    source = PatchSource([case], 16, {0.05: 1.0}, seed=1, variety=Variety(filtered=1.0))
    plain = PatchSource([case], 16, {0.05: 1.0}, seed=1)
    draw = source._draw(np.random.default_rng([1, 0, 0]))
    whole = CachedCase.open(case).doses.astype(np.float32)
    window = tuple(slice(a + 5, b - 5) for a, b in draw.window)  # away from the border, which the filter cannot know
    batch = source.batch(0, [0])
    inner = (slice(5, -5),) * 3
    for got, index in ((batch.scan[0, 0], ALL_DOSES.index(0.05)), (batch.ladder[0, -1], ALL_DOSES.index(1.0))):
        flips = [axis - 1 for axis in draw.flips]
        expected = Intensity(draw.scale).to_network(torch.from_numpy(blur(whole[index], draw.filter_sigmas)[window]))
        torch.testing.assert_close(got.flip(flips)[inner], expected, rtol=0, atol=2e-3)
    several, rough = (each.batch(0, range(8)).scan.diff(dim=2).abs().median() for each in (source, plain))
    assert several < 0.8 * rough


def test_doses_between_two_input_doses_are_drawn_only_where_asked_and_never_above_the_highest(case):
    doses = {0.02: 0.5, 0.1: 0.5}
    plain = PatchSource([case], 16, doses, seed=1).batch(0, range(64)).dose
    between = PatchSource([case], 16, doses, seed=1, variety=Variety(between=0.5)).batch(0, range(64)).dose
    assert set(plain.tolist()) == {np.float32(0.02), np.float32(0.1)}
    new = between[(between > 0.021) & (between < 0.099)]
    assert 8 <= len(new) <= 24 and len(new.unique()) == len(new) and between.max() <= np.float32(0.1)
    assert (new < 0.045).any() and (new > 0.045).any()  # on both sides of the cached 1/20 dose


def variance_and_covariance(scan: np.ndarray, anchor: np.ndarray) -> tuple[float, float]:
    """Of the scan, and of scan and anchor, given as parts of ALL_DOSES, whose covariances are 1 / the higher dose."""
    doses = np.array(ALL_DOSES)
    covariances = 1 / np.maximum(doses[:, None], doses[None, :])
    return scan @ covariances @ scan, scan @ covariances @ anchor


@pytest.mark.parametrize("dose", [0.02, 0.03, 0.05, 0.2])
@pytest.mark.parametrize("counts", [1.0, 0.7, 0.5])
def test_a_weaker_scanner_has_the_noise_of_fewer_counts_at_every_dose(dose, counts):
    scan, *anchors = _parts(dose, counts)
    for row, anchor in zip(anchors, (0.1, 0.25, 0.5, 1.0), strict=True):
        anchor = anchor if anchor > dose else 0.25
        variance, covariance = variance_and_covariance(scan.astype(float), row.astype(float))
        assert variance == pytest.approx(1 / (dose * counts), rel=1e-5)
        if anchor * counts >= min(
            d for d in ALL_DOSES if d > 0.999 * dose * counts
        ):  # else both lie between the same two
            assert covariance == pytest.approx(1 / (anchor * counts), rel=1e-5)
        assert row.sum() == pytest.approx(1)


def test_without_variety_a_patch_is_a_cached_dose_with_cached_anchors():
    parts = _parts(0.05, 1.0)
    assert [ALL_DOSES[row.argmax()] for row in parts] == [0.05, 0.1, 0.25, 0.5, 1.0]
    assert np.array_equal(parts.sum(axis=1), parts.max(axis=1)) and (parts >= 0).all()
    assert [ALL_DOSES[row.argmax()] for row in _parts(0.25, 1.0)] == [0.25, 0.5, 0.5, 0.5, 1.0]


def test_what_is_drawn_keeps_within_its_bounds():
    rng, variety = np.random.default_rng(0), Variety(zoomed=0.5, between=0.5, filtered=0.5, weaker=0.5)
    counts = np.array([variety.counts(rng, 0.4) for _ in range(400)])
    assert 150 < (counts < 1).sum() < 250 and 0.4 <= counts.min() < 0.45
    assert variety.counts(rng, 1.0) == 1.0
    zooms = np.array([variety.zoom(rng) for _ in range(400)])
    changed = zooms[zooms != 1.0]
    assert 150 < len(changed) < 250 and changed.min() >= COARSEST_ZOOM and changed.max() <= FINEST_ZOOM
    assert (changed < 1).sum() > 10
    drawn = [variety.filter_sigmas(rng, (2.0, 2.0, 4.0)) for _ in range(400)]
    sigmas = np.array([s for s in drawn if s])
    assert 150 < len(sigmas) < 250
    widths = sigmas * 2.3548 * (4.0, 2.0, 2.0)
    assert 0.9 * WIDEST_FILTER_MM < widths.max() <= WIDEST_FILTER_MM and np.allclose(widths[:, 1], widths[:, 2])


@pytest.mark.parametrize("config", [TrainConfig, RivalConfig])
def test_a_share_outside_its_bounds_is_refused_for_our_model_and_for_a_rival(config):
    with pytest.raises(InputError, match="weaker is 1.5; 0 to 1 is needed"):
        config(weaker=1.5)
