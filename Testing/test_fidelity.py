"""What `mapdiff-train fidelity` says of a tiny case: figures that are known where the answer is the truth."""

import json

import numpy as np
import pytest

from MAPDiffLib.model.bundle import load_bundle
from Testing import tiny
from training.evaluation.fidelity import fidelity_of_case
from training.evaluation.fidelity_table import format_fidelity


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fidelity")
    bundle = load_bundle(tiny.tiny_bundle(folder / "tiny"))
    return fidelity_of_case(tiny.tiny_case(folder / "case"), bundle, 0.05, ("off", "normal", 3.0))


def test_every_strength_is_judged_and_a_stronger_guard_leaves_no_less_contrast(record):
    assert list(record["guard"]) == ["off", "normal", "3.0"]
    (lesion,) = record["lesions"]
    assert lesion["diameter_mm"] == 32 and lesion["snr"] > 10
    assert lesion["recovered"]["off"] <= lesion["recovered"]["3.0"] + 0.02
    assert abs(lesion["errors"]["best"]) <= abs(lesion["errors"]["restored"]) + 0.01


def test_drawn_scans_are_set_beside_each_real_dose(record):
    assert list(record["scans"]) == ["0.1", "0.25", "0.5", "1"]
    for row in record["scans"].values():
        assert 0 < row["crps_over_nmae"] < 2 and np.isfinite(row["max_bias"]) and len(row["spectrum"]) == 4


def test_the_table_has_every_group_and_the_record_is_json(record):
    text = format_fidelity([record, record])
    assert text.startswith("== all: 2 cases, 2 lesions") and "== internal: 2 cases" in text
    assert "17 to inf mm" in text and "places beyond 4:" in text
    json.dumps(record, allow_nan=False)
