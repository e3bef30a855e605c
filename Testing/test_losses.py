"""How likely a restoration lost something at a place: what is read off it, the network that weighs it, and the list."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from scipy.special import expit

from MAPDiffLib.errors import BundleError
from MAPDiffLib.model.loss_odds import AWAY_MM, FEATURES, LIMIT, LossOdds, parse_loss_odds
from MAPDiffLib.restoration.consistency import FLOOR, Consistency
from MAPDiffLib.restoration.losses import LEAST_Z, Peak, find_peaks, peak_features, places_to_check, position_mm
from MAPDiffLib.scan.volume import Volume
from Testing.lost_lesion import LESION, SPACING, body_of, correlated_noise, tensors, truth_of, z_of
from training.evaluation import loss_odds_fit

BY_Z = LossOdds(output=(-6.0, 1.0))  # log-odds of z - 6


def test_a_lesion_that_was_lost_is_the_first_place_to_check_and_an_image_that_holds_it_has_none():
    body = body_of()
    truth, lost = truth_of(body, lesion=12.0), truth_of(body)
    scan = truth * (1 + 0.15 * correlated_noise(body.shape))
    geometry = {"origin_mm": (-10.0, 20.0, 5.0), "direction": (-1, 0, 0, 0, -1, 0, 0, 0, 1)}
    volumes = [Volume(v, SPACING, **geometry) for v in (scan, lost, z_of(scan, lost, body))]
    places = places_to_check(*volumes, find_peaks(Consistency(*tensors(scan, lost, body), SPACING), BY_Z), 0)
    expected = position_mm(volumes[0], LESION)
    assert expected == pytest.approx((-10 - 4 * 30, 20 - 4 * 24, 5 + 4 * 28))
    assert len(places) == 1 and np.linalg.norm(np.subtract(places[0].position_mm_lps, expected)) <= 6
    assert places[0].scan > places[0].restored and places[0].z > 6
    assert places[0].probability == pytest.approx(expit(places[0].z - 6))
    held = find_peaks(Consistency(*tensors(scan, truth, body), SPACING), BY_Z)
    assert places_to_check(*volumes, held, 0) == [] and all(peak.z > LEAST_Z for peak in held)


def test_places_are_apart_sorted_and_no_more_than_a_reader_looks_at(monkeypatch):
    z = np.zeros((30, 30, 30), np.float32)
    peaks = [
        Peak(index, 3.0, log_odds)
        for index, log_odds in [
            ((5, 5, 5), 6.0), ((5, 5, 8), 5.0), ((20, 20, 20), 7.0), ((10, 25, 10), 5.5), ((25, 5, 25), 3.0),
        ]
    ]  # fmt: skip
    volumes = [Volume(v, SPACING) for v in (z + 2, np.ones_like(z), z)]
    found = places_to_check(*volumes, peaks, 4)
    # The one of 5.0 lies 12 mm from a likelier one, which is then the place of both.
    assert [place.probability for place in found] == pytest.approx(expit([7, 6, 5.5]))
    many = [Peak((z, y, 5), 3.0, 5.0 + 0.01 * z) for z in range(0, 30, 6) for y in range(0, 30, 6)]
    assert len(places_to_check(*volumes, many, 4)) == 8


def test_what_is_read_off_a_peak_has_no_unit_and_is_what_its_name_says():
    """A hot spot of 8 mm in an even body, of which the restored image holds a third."""
    body = body_of()
    z, y, x = np.indices(body.shape)
    spot = ((z - 28) ** 2 + (y - 24) ** 2 + (x - 13) ** 2 <= 1) * 1.0
    flat = np.where(body, 1.0, 0.0).astype(np.float32)
    scan, restored = flat * (1 + 0.1 * correlated_noise(body.shape)) + 18 * spot, flat + 6 * spot
    at = []
    for unit in (1.0, 512.0):
        consistency = Consistency(*tensors(*(np.float32(unit * v) for v in (scan, restored)), body), SPACING)
        indices, features = peak_features(consistency)
        (number,) = np.flatnonzero((indices == (28, 24, 13)).all(axis=1))
        at.append(dict(zip(FEATURES, features[number], strict=True)))
    assert at[1] == pytest.approx(at[0], abs=1e-2)
    read, noise = at[0], float(consistency.deviation[28, 24, 13])
    assert read["z"] == pytest.approx(float(consistency.z(consistency.restored)[28, 24, 13]))
    assert read["noise"] == pytest.approx(np.log(noise))
    level = float((scan * body).sum() / body.sum())
    below = np.log(1 / level + FLOOR) - np.log(7 / level + FLOOR)
    for away in AWAY_MM:
        assert read[f"mean {away:g} mm away"] == pytest.approx(below / noise, abs=0.05)
        assert read[f"hottest {away:g} mm away"] == pytest.approx(0, abs=0.05)
        assert read[f"spread {away:g} mm away"] == pytest.approx(0, abs=0.05)
    assert np.abs(features[:, 3:]).max(axis=1).min() < 0.01  # in the even part the restored image has nothing to say


def test_an_edge_nearby_is_hotter_and_uneven_around_a_peak():
    body = body_of()
    truth = truth_of(body)  # three times as hot from x = 24 on
    scan = truth.copy()
    scan[27:30, 23:26, 20:23] *= 3
    _, features = peak_features(
        Consistency(*tensors(scan * (1 + 0.1 * correlated_noise(body.shape)), truth, body), SPACING)
    )
    read = dict(zip(FEATURES, features[features[:, 0].argmax()], strict=True))
    assert read["hottest 16 mm away"] > 3 and read["spread 16 mm away"] > 1
    assert read["hottest 8 mm away"] < read["hottest 28 mm away"] + 1


def test_the_network_is_two_layers_and_what_is_beyond_its_limit_is_alike():
    rest = (0.0,) * (len(FEATURES) - 2)
    odds = LossOdds(
        (1.0, *(0.0,) * (len(FEATURES) - 1)), (2.0, *(1.0,) * (len(FEATURES) - 1)),
        ((0.5, 1.0, 0.0, *rest), (0.0, 0.0, -1.0, *rest)), (-3.0, 2.0, 1.0),
    )  # fmt: skip
    features = np.zeros((4, len(FEATURES)))
    features[:, :2] = [[5.0, 1.0], [5.0, -4.0], [-9.0, 0.0], [1e9, -1e9]]
    expected = [-3 + 2 * 2.5, -3 + 2 * 2.5 + 4, -3, -3 + 2 * ((LIMIT - 1) / 2 + 0.5) + LIMIT]
    assert odds.of(features) == pytest.approx(expected)
    assert BY_Z.of(features[:1]) == pytest.approx([-1.0])


@pytest.mark.parametrize(
    "spoilt",
    [
        {"centre": [0.0]}, {"scale": [0.0] * 12}, {"hidden": []}, {"hidden": [[1.0]]}, {"output": [1.0]},
        {"output": ["a", 1.0]}, {"colour": 1}, {"hidden": [[0.0] * 13] * 101},
    ],
)  # fmt: skip
def test_a_bundle_s_network_is_checked(spoilt):
    whole = json.loads(json.dumps(asdict(BY_Z)))
    assert parse_loss_odds(whole) == BY_Z
    with pytest.raises(BundleError, match=f"loss_odds.*{next(iter(spoilt))}"):
        parse_loss_odds(whole | spoilt)


def test_the_fit_finds_the_odds_that_the_examples_were_drawn_with_and_is_the_same_each_time():
    random = np.random.default_rng(0)
    features = random.standard_normal((20_000, len(FEATURES))) * 2 + 1
    law = 1.5 * features[:, 0] - np.abs(features[:, 4]) - 1
    examples = [
        (part, random.random(len(part)) < expit(own))
        for part, own in zip(np.split(features, 4), np.split(law, 4), strict=True)
    ]
    odds = loss_odds_fit._trained(examples)
    off = expit(odds.of(features)) - expit(law)
    assert np.abs(off).mean() < 0.03 and abs(off.mean()) < 0.01
    assert loss_odds_fit._trained(examples) == odds and parse_loss_odds(json.loads(json.dumps(asdict(odds)))) == odds
