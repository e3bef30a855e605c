"""Where scan and restored image disagree: z is in units of the noise, whatever it depends on, and places are found."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from MAPDiffLib.restoration import local_noise
from MAPDiffLib.restoration.activity_guard import SURE, guard_activity, put_back, significant_loss
from MAPDiffLib.restoration.consistency import BELIEVED, LEAST_Z, Consistency, Peak, places_to_check, position_mm
from MAPDiffLib.restoration.local_noise import activity_power, gaussian_mean, noise_deviation
from MAPDiffLib.scan.volume import Volume

SPACING = (4.0, 4.0, 4.0)
LESION = (28, 24, 30)  # z, y, x


def body_of(shape=(56, 48, 48)):
    body = np.zeros(shape, bool)
    body[4:-4, 5:-5, 5:-5] = True
    return body


def correlated_noise(shape, seed=0):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 0.8)
    return (noise / noise.std()).astype(np.float32)


def truth_of(body, lesion=0.0):
    """Two halves of different activity, and a ball of 12 mm that is so much hotter than its surroundings."""
    voxels = np.where(body, 1.0, 0.0).astype(np.float32)
    voxels[:, :, 24:] *= 3
    z, y, x = np.indices(body.shape)
    near = (z - LESION[0]) ** 2 + (y - LESION[1]) ** 2 + (x - LESION[2]) ** 2 <= 1.5**2
    voxels[near] += lesion
    return voxels


def tensors(*arrays):
    return [torch.from_numpy(np.ascontiguousarray(array)) for array in arrays]


def z_of(scan, restored, body, image=None):
    scan, restored, body, image = tensors(scan, restored, body, restored if image is None else image)
    return Consistency(scan, restored, body, SPACING).z(image).numpy()


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


def test_a_lesion_that_was_lost_is_the_first_place_to_check_and_an_image_that_holds_it_has_none():
    body = body_of()
    truth, lost = truth_of(body, lesion=12.0), truth_of(body)
    scan = truth * (1 + 0.15 * correlated_noise(body.shape))
    geometry = {"origin_mm": (-10.0, 20.0, 5.0), "direction": (-1, 0, 0, 0, -1, 0, 0, 0, 1)}
    volumes = [Volume(v, SPACING, **geometry) for v in (scan, lost, z_of(scan, lost, body))]
    peaks = Consistency(*tensors(scan, lost, body), SPACING).peaks()
    places = places_to_check(*volumes, peaks, threshold=6)
    expected = position_mm(volumes[0], LESION)
    assert expected == pytest.approx((-10 - 4 * 30, 20 - 4 * 24, 5 + 4 * 28))
    assert len(places) == 1 and np.linalg.norm(np.subtract(places[0].position_mm_lps, expected)) <= 6
    assert places[0].scan > places[0].restored and places[0].evidence > 6 and places[0].z > 6
    assert places_to_check(*volumes, Consistency(*tensors(scan, truth, body), SPACING).peaks(), threshold=6) == []


def test_places_are_apart_sorted_and_no_more_than_asked_for():
    z = np.zeros((30, 30, 30), np.float32)
    peaks = [
        Peak(index, z_there, evidence)
        for index, z_there, evidence in [
            ((5, 5, 5), 4.0, 6.0), ((5, 5, 8), 5.0, 5.0), ((20, 20, 20), -7.0, 7.0), ((10, 25, 10), 5.5, 5.5),
            ((25, 5, 25), 3.0, 3.0),
        ]
    ]  # fmt: skip
    volumes = [Volume(v, SPACING) for v in (z + 2, np.ones_like(z), z)]
    found = places_to_check(*volumes, peaks, threshold=4)
    assert [place.evidence for place in found] == [7, 6, 5.5]  # 12 mm from a stronger one is no place of its own
    assert len(places_to_check(*volumes, peaks, threshold=4, most=2)) == 2


def hot_spot(body, height):
    """A ball of 12 mm in the middle of the colder half."""
    z, y, x = np.indices(body.shape)
    return np.where((z - 28) ** 2 + (y - 24) ** 2 + (x - 13) ** 2 <= 1.5**2, height, 0).astype(np.float32)


def test_evidence_is_z_in_an_even_region_and_more_where_the_restored_image_shows_a_hot_spot_too():
    body = body_of()
    flat = np.where(body, 1.0, 0.0).astype(np.float32)
    noise = 0.15 * correlated_noise(body.shape)

    def peak_at_the_spot(restored, truth):
        peaks = Consistency(*tensors(truth * (1 + noise), restored, body), SPACING).peaks()
        near = [p for p in peaks if np.linalg.norm(np.subtract(p.index, (28, 24, 13))) <= 2 and p.z > 0]
        return max(near, key=lambda peak: peak.z)

    bare = peak_at_the_spot(flat, flat + hot_spot(body, 3.0))
    shown = peak_at_the_spot(flat + hot_spot(body, 6.0), flat + hot_spot(body, 18.0))
    assert bare.evidence == pytest.approx(bare.z, abs=0.5)
    assert shown.evidence == pytest.approx(shown.z + BELIEVED)


def test_a_place_where_the_restored_image_holds_more_has_the_evidence_of_its_z():
    body = body_of()
    flat = np.where(body, 1.0, 0.0).astype(np.float32)
    scan = flat * (1 + 0.15 * correlated_noise(body.shape))
    made_up = tensors(scan, flat + hot_spot(body, 12.0), body)
    lowest = min(Consistency(*made_up, SPACING).peaks(), key=lambda peak: peak.z)
    assert np.linalg.norm(np.subtract(lowest.index, (28, 24, 13))) <= 2 and lowest.z < -LEAST_Z
    assert lowest.evidence == -lowest.z


def test_the_guard_puts_back_a_lost_lesion_and_leaves_what_noise_explains():
    body = body_of()
    truth, lost = truth_of(body, lesion=12.0), truth_of(body)
    scan = truth * (1 + 0.15 * correlated_noise(body.shape))
    consistency = guard_activity(*tensors(lost, scan, body), SPACING).consistency
    off, said = put_back(consistency, consistency.peaks(), None)
    assert off is consistency.restored and said == {}
    on, said = put_back(consistency, consistency.peaks(), 5.0)
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
    missing, places = significant_loss(consistency, consistency.peaks(), 5.0)
    assert places >= 1 and float(missing[0, 9, 9]) > 1


def test_the_guard_never_takes_activity_away_at_a_place_and_a_higher_threshold_puts_back_less():
    body = body_of()
    truth = truth_of(body)
    scan = truth * (1 + 0.3 * correlated_noise(body.shape))
    consistency = Consistency(*tensors(scan, truth, body), SPACING)
    low, high = (significant_loss(consistency, consistency.peaks(), threshold)[0] for threshold in (2.5, 3.5))
    assert low.min() >= 0 and high.min() >= 0
    assert low.sum() > high.sum()


def test_what_is_put_back_grows_with_the_evidence_beyond_the_threshold_up_to_all_of_it():
    body = body_of()
    scan = truth_of(body, lesion=12.0) * (1 + 0.15 * correlated_noise(body.shape))
    consistency = Consistency(*tensors(scan, truth_of(body), body), SPACING)
    peak = max(consistency.peaks(), key=lambda peak: peak.evidence)

    def put_back_beyond(evidence):
        missing, places = significant_loss(consistency, [peak], peak.evidence - evidence)
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
