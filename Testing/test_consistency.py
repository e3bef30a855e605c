"""Where scan and restored image disagree: z is in units of the noise, whatever it depends on, and what was lost is put
back."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from MAPDiffLib.model.loss_odds import LossOdds
from MAPDiffLib.restoration import local_noise
from MAPDiffLib.restoration.activity_guard import SURE, guard_activity, put_back, significant_loss
from MAPDiffLib.restoration.consistency import Consistency
from MAPDiffLib.restoration.local_noise import activity_power, gaussian_mean, noise_deviation
from MAPDiffLib.restoration.losses import find_peaks
from Testing.lost_lesion import LESION, SPACING, body_of, correlated_noise, tensors, truth_of, z_of


@pytest.mark.parametrize("power", [0.5, 1.0])
def test_z_of_pure_noise_has_unit_deviation_in_hot_and_in_cold_parts(power):
    body = body_of()
    truth = truth_of(body)
    scan = truth + 0.2 * truth**power * correlated_noise(body.shape)
    z, inner = z_of(scan, truth, body), ndimage.binary_erosion(body, iterations=5)
    for half in (np.s_[:, :, :22], np.s_[:, :, 26:]):
        assert z[half][inner[half]].std() == pytest.approx(1, abs=0.2)
    assert not z[~body].any()


def test_z_knows_no_units():
    body = body_of()
    truth = truth_of(body)
    scan = truth * (1 + 0.2 * correlated_noise(body.shape))
    assert z_of(1024 * scan, 1024 * truth, body) == pytest.approx(z_of(scan, truth, body), abs=1e-3)


def test_the_guard_puts_back_a_lost_lesion_and_leaves_what_noise_explains():
    body = body_of()
    truth, lost = truth_of(body, lesion=12.0), truth_of(body)
    scan = truth * (1 + 0.15 * correlated_noise(body.shape))
    consistency = guard_activity(*tensors(lost, scan, body), SPACING).consistency
    off, said = put_back(consistency, find_peaks(consistency, LossOdds()), None)
    assert off is consistency.restored and said == {}
    on, said = put_back(consistency, find_peaks(consistency, LossOdds()), -2.0)
    missing = truth[LESION] - off.numpy()[LESION]
    assert on.numpy()[LESION] - off.numpy()[LESION] > 0.4 * missing
    assert 1 <= said["places"] <= 3 and 0 < said["put_back"] < 0.01
    changed = (on - off).abs().numpy() > 0.05
    assert 19 < changed[body].sum() < 300  # the lesion has 19 voxels
    assert float(on.sum()) == pytest.approx(scan[body].sum(), rel=1e-4)


def test_a_place_at_the_edge_of_the_volume_is_put_back_too():
    body = np.ones((20, 20, 20), bool)
    flat = np.ones(body.shape, np.float32)
    scan = flat * (1 + 0.1 * correlated_noise(body.shape))
    scan[:2, 8:11, 8:11] += 5
    consistency = Consistency(*tensors(scan, flat, body), SPACING)
    missing, places = significant_loss(consistency, find_peaks(consistency, LossOdds()), -2.0)
    assert places >= 1 and float(missing[0, 9, 9]) > 1


def test_the_guard_never_takes_activity_away_at_a_place_and_a_higher_threshold_puts_back_less():
    body = body_of()
    truth = truth_of(body)
    scan = truth * (1 + 0.3 * correlated_noise(body.shape))
    consistency = Consistency(*tensors(scan, truth, body), SPACING)
    peaks = find_peaks(consistency, LossOdds())
    low, high = (significant_loss(consistency, peaks, threshold)[0] for threshold in (-4.5, -3.5))
    assert low.min() >= 0 and high.min() >= 0
    assert low.sum() > high.sum()


def test_what_is_put_back_grows_with_the_log_odds_beyond_the_threshold_up_to_all_of_it():
    body = body_of()
    scan = truth_of(body, lesion=12.0) * (1 + 0.15 * correlated_noise(body.shape))
    consistency = Consistency(*tensors(scan, truth_of(body), body), SPACING)
    peak = max(find_peaks(consistency, LossOdds()), key=lambda peak: peak.log_odds)

    def put_back_beyond(log_odds):
        missing, places = significant_loss(consistency, [peak], peak.log_odds - log_odds)
        assert places == 1
        return float(missing.sum())

    whole = put_back_beyond(SURE)
    assert put_back_beyond(SURE + 1) == pytest.approx(whole)
    for share in (0.02, 0.5):
        assert put_back_beyond(share * SURE) == pytest.approx(share * whole, rel=1e-4)


def test_the_power_of_activity_in_noise_is_read_off_the_scan():
    rng = np.random.default_rng(0)
    activity = torch.from_numpy(rng.uniform(0.3, 10, 200_000).astype(np.float32))
    noise = torch.from_numpy(rng.standard_normal(200_000).astype(np.float32))
    for power in (0.5, 0.8, 1.0):
        assert activity_power(activity**power * noise, activity) == pytest.approx(power, abs=0.05)
    assert activity_power(noise[:10], activity[:10]) == 0


@pytest.mark.parametrize("enough", [local_noise.ENOUGH_VOXELS, 5_000])
def test_the_deviation_of_noise_follows_depth_and_activity_and_no_lesion(enough, monkeypatch):
    """Also where medians are those of some voxels of a larger body."""
    monkeypatch.setattr(local_noise, "ENOUGH_VOXELS", enough)
    body = body_of()
    assert (body.sum() > 2 * enough) == (enough == 5_000)
    truth = truth_of(body, lesion=20.0)
    depth = np.linspace(0.1, 0.3, body.shape[0], dtype=np.float32)[:, None, None]
    expected = depth * truth_of(body) ** 0.7
    values = expected * correlated_noise(body.shape) + (truth - truth_of(body))
    activity = np.where(body, truth_of(body), 1).astype(np.float32)
    found = noise_deviation(*tensors(values, activity, body), SPACING).numpy()
    inner = ndimage.binary_erosion(body, iterations=6)
    ratio = (found / np.where(body, expected, 1))[inner]
    assert np.median(ratio) == pytest.approx(1, abs=0.1) and np.quantile(np.abs(ratio - 1), 0.95) < 0.3


def test_a_gaussian_mean_has_its_width_narrow_or_wide():
    image = torch.zeros(61, 61, 61)
    image[30, 30, 30] = 1
    for width in (8.0, 40.0):
        mean = gaussian_mean(image, width, (3.0, 3.0, 3.0)).numpy().astype(float)
        z = (np.arange(61) - 30) * 3.0
        profile = mean.sum(axis=(1, 2))
        assert 2.3548 * np.sqrt((profile * z**2).sum() / profile.sum()) == pytest.approx(width, rel=0.1)
        assert mean.sum() == pytest.approx(1, rel=0.02)


def test_a_narrow_gaussian_mean_is_scipys_on_any_grid():
    image = np.random.default_rng(3).random((3, 37, 70), dtype=np.float32)  # less than a block of rows, and no multiple
    mean = gaussian_mean(torch.from_numpy(image), 9.0, (4.0, 3.0, 5.0)).numpy()
    sigma = [9.0 / 2.3548 / spacing for spacing in (5.0, 3.0, 4.0)]
    assert np.allclose(mean, ndimage.gaussian_filter(image, sigma, mode="constant"), atol=1e-5)
