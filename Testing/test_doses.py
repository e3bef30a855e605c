"""Doses: labels, anchors, degradation matching, mixing and the estimate of the input's own dose."""

import numpy as np
import pytest
import torch

from MAPDiffLib.errors import InputError
from MAPDiffLib.model.manifest import Anchor, DoseCalibration
from MAPDiffLib.restoration.doses import (
    anchor_of,
    anchor_weight,
    dose_label,
    dose_of_noise,
    match_degradation,
    mix,
    mix_share,
    parse_dose,
)

ANCHORS = [Anchor(0.1, 200), Anchor(0.25, 120), Anchor(0.5, 70), Anchor(1.0, 0)]


def test_the_anchor_map_is_piecewise_with_closed_lower_ends():
    t = torch.tensor([999, 200, 199, 120, 119, 70, 69, 0])
    assert anchor_of(t, ANCHORS).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_the_weight_is_one_at_zero_and_zero_at_the_end():
    assert anchor_weight(torch.tensor([0, 500, 1000]), 1000, 2.0).tolist() == [1.0, 0.25, 0.0]


def test_degradation_matching_finds_the_timestep_of_a_known_curve():
    t = np.arange(100)
    simulated = np.stack([t / 100, t / 200], axis=1)
    assert match_degradation(simulated, (0.37, 0.185)) == 37


def test_the_mix_is_linear_in_one_over_dose():
    assert mix_share(0.05, 0.05) == 1.0
    assert mix_share(0.05, 1.0) == 0.0
    assert mix_share(0.05, 0.1) == pytest.approx((10 - 1) / (20 - 1))
    assert mix_share(0.1, 0.2, 0.5) == pytest.approx((5 - 2) / (10 - 2))
    low, high = np.array([2.0]), np.array([10.0])
    assert mix(low, high, 0.05, 0.1)[0] == pytest.approx(2 + 8 * 10 / 19)


def test_the_mix_of_the_input_with_the_expected_full_dose_is_the_expected_nested_dose():
    """Poisson counts, true mean known: E[x_d | y] = (d0/d) y + (1 - d0/d) mean, for full dose and for any d between."""
    y, mean, low_dose, dose = np.array([700.0, 1300.0]), 1000.0, 0.05, 0.25
    expected = {d: low_dose / d * y + (1 - low_dose / d) * mean for d in (dose, 1.0)}
    assert mix(y, expected[1.0], low_dose, dose) == pytest.approx(expected[dose])


def test_a_dose_that_does_not_lie_between_is_refused():
    with pytest.raises(InputError, match="does not lie between"):
        mix_share(0.1, 0.05)


@pytest.mark.parametrize(("text", "dose"), [("1/4", 0.25), ("0.1", 0.1), ("full", 1.0), ("1", 1.0), (0.5, 0.5)])
def test_doses_are_read_as_people_write_them(text, dose):
    assert parse_dose(text) == dose


@pytest.mark.parametrize("text", ["0", "-1/4", "2", "quarter", "1/0", "nan", "inf", ""])
def test_impossible_doses_are_refused_with_the_rule(text):
    with pytest.raises(InputError, match=r"\(0, 1\]"):
        parse_dose(text)


@pytest.mark.parametrize(("dose", "label"), [(0.1, "1/10"), (0.25, "1/4"), (0.5, "1/2"), (1.0, "full"), (0.05, "1/20")])
def test_labels_are_fractions(dose, label):
    assert dose_label(dose) == label


def test_the_dose_is_read_off_the_noise_and_held_at_the_ends():
    curve = DoseCalibration(doses=(0.01, 0.1, 1.0), noise=(0.4, 0.2, 0.1), scatter=0.1)
    assert dose_of_noise(0.2, curve).dose == pytest.approx(0.1)
    assert dose_of_noise(9.0, curve).dose == pytest.approx(0.01)
    between = dose_of_noise(0.2 * 0.5**0.5, curve)
    assert between.dose == pytest.approx(10**-0.5)
    assert between.low == pytest.approx(between.dose * np.exp(-0.1645))
    assert dose_of_noise(0.01, curve).high == 1.0
