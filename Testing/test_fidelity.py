"""What `mapdiff-train fidelity` measures, fits and says: on a tiny case, and on records whose answer is known."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from MAPDiffLib.errors import InputError
from MAPDiffLib.model.bundle import load_bundle
from MAPDiffLib.model.fidelity import DRAWN_PER_MM, Fidelity
from MAPDiffLib.model.loss_odds import LossOdds
from Testing import tiny
from training.__main__ import main
from training.evaluation import fidelity_fit, loss_odds_fit
from training.evaluation.fidelity import RestoredCases, figures
from training.evaluation.fidelity_table import format_fidelity, idle_places
from training.scores.organ_noise import BANDS_PER_MM, spectrum


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fidelity")
    tiny.tiny_case(folder / "cases" / "case")
    return folder


@pytest.fixture(scope="module")
def restored(folder, bundle):
    return RestoredCases([folder / "cases" / "case"], load_bundle(bundle), LossOdds(), 0.05, folder / "restored")


@pytest.fixture(scope="module")
def record(restored):
    (case,) = restored
    return figures(case, Fidelity(guard_strong=-3.5))


def test_every_strength_is_judged_and_a_stronger_guard_leaves_no_less_contrast(record):
    assert list(record["guard"]) == ["off", "normal", "strong"]
    (lesion,) = record["lesions"]
    assert lesion["diameter_mm"] == 32 and lesion["snr"] > 10
    assert lesion["recovered"]["off"] <= lesion["recovered"]["strong"] + 0.02
    real = lesion["real"]
    assert abs(lesion["value"] - real) <= max(abs(lesion["scan"] - real), abs(lesion["full"] - real))


def test_drawn_scans_are_set_beside_each_real_dose(record):
    assert list(record["scans"]) == ["0.1", "0.25", "0.5", "1"]
    for dose, row in record["scans"].items():
        assert row["times"] == pytest.approx(float(dose) / 0.05)
        assert 0 < row["crps"] < 2 and np.isfinite(row["maximum"]) and 0 < row["roughness"] < 10


def test_a_case_is_restored_once_by_each_model(restored, folder, monkeypatch):
    kept = sorted((folder / "restored").iterdir())
    monkeypatch.setattr("training.evaluation.fidelity.restore", None)  # nothing restores any more
    (again,) = restored
    assert again.estimate.shape == again.scan.voxels.shape and len(kept) == 1
    with pytest.raises(TypeError):
        list(replace(restored, input_dose=0.1))


def test_the_table_says_of_each_bar_what_was_measured_on_how_many_and_whether_it_holds(record):
    text = format_fidelity([record, record], Fidelity())
    assert text.startswith("== all: 2 cases, 2 lesions") and "== internal: 2 cases" in text
    bar = next(line for line in text.splitlines() if "17 to inf mm: 90 %" in line)
    assert "2 lesions" in bar and bar.endswith(("holds", "FAILS"))
    json.dumps(record, allow_nan=False)


def lesion(value=None, off=0.5, normal=None, **facts):
    """A lesion of 20 mm of which the network left half."""
    found = {"diameter_mm": 20.0, "snr": 8.0, "real": 4.0, "scan": 4.2, "full": 3.0, "t": 1.0, "low": 3.0, "high": 5.0}
    kept = {"recovered": {"off": off, "normal": off if normal is None else normal, "strong": 1.0}, "value": value}
    return {**found, **kept, "deviation": 0.4, "taken_away": 0.4, "noise": 0.8, **facts}


def case_of(lesions, places=(), relative_noise=0.2):
    guard = {name: {"nmae": 0.1, "more_hot_spots": 0, "found": None} for name in ("off", "normal", "strong")}
    return {
        "case": "one", "scanner": "internal", "relative_noise": relative_noise, "lesions": list(lesions),
        "guard": guard, "found": {"scan": None, "real": None, "known": None}, "places": list(places), "scans": {},
    }  # fmt: skip


def test_a_place_is_idle_where_there_is_no_lesion_or_an_intact_one():
    lesions = [lesion(off=0.5), lesion(off=0.95), lesion(off=None)]
    places = [{"log_odds": 1.0, "z": 4.0, "lesion": at} for at in (0, 1, 2, None)]
    records = [case_of(lesions, places), case_of(lesions, [{"log_odds": -0.1, "z": 3.9, "lesion": None}])]
    assert idle_places(records, 0.0) == 1.0  # two in two scans
    text = format_fidelity([case_of([lesion(value=4.0)], places[:1])], Fidelity(place=0.0))
    assert "two thirds listed" in text and "1 (100%)" in text


def test_lost_lesions_that_who_knows_the_anatomy_would_list_are_counted():
    """Two scans: six false hits of all may exceed the threshold, which is the seventh."""
    records = [case_of([lesion(value=4.0, off=off, normal=0.9) for off in kept]) for kept in ((0.5, 0.5, 0.95), (0.6,))]
    for record, scores in zip(records, ([9.0, 4.0, 9.0], [6.0]), strict=True):
        record["found"]["known"] = {"lesions": scores, "false": [8.0, 7.0, 6.5, 5.0]}
    text = format_fidelity(records, Fidelity()).split("== internal")[0]
    (said,) = [line for line in text.splitlines() if "who knows the anatomy, at 3 false" in line]
    assert "2 (67%)" in said and "3 lesions" in said


def test_what_a_detector_finds_is_told_by_how_far_lesions_stand_out_at_one_false_hit_of_all():
    """Two volumes: two false scores of all may exceed the threshold, which is the third."""

    def seen(lesions, false):
        return {"lesions": lesions, "false": false}

    records = [case_of([lesion(value=4.0, snr=snr) for snr in snrs]) for snrs in ((8.0, 20.0, None), (7.0,))]
    for record, one, other in zip(records, ([2.0, 5.0, 9.0], [4.0]), ([4.0, 5.0, 0.0], [2.5]), strict=True):
        record["found"] = {
            "scan": seen(one, [4.5, 3.0, 1.0][: len(one)]),
            "real": seen([9.0] * len(one), []),
            "known": seen([9.0, 0.0, 9.0][: len(one)], []),
        }
        for row in record["guard"].values():
            row["found"] = seen(other, [])
    text = format_fidelity(records, Fidelity()).split("== internal")[0]
    rows = {line.split(" found")[0].strip(): line for line in text.splitlines() if " found" in line}
    assert "0.50, 1.00, 1.00, 1.00, 1.00, 1.00" in rows["SNR 6-10"] and "2 lesions" in rows["SNR 6-10"]
    assert "1.00, 1.00, 1.00, 1.00, 1.00, 0.00" in rows["SNR over 10"] and "1 lesions" in rows["SNR over 10"]
    assert "0.75" in rows["lesions"] and "4 lesions" in rows["lesions"]
    assert " found" not in format_fidelity([case_of([lesion(value=4.0)])], Fidelity())  # truth not known


def test_the_noise_is_what_was_taken_away_by_a_law_of_how_noisy_a_scan_is():
    law = [(r, 1.5 * r**-0.3) for r in (0.05, 0.1, 0.2, 0.4)]
    records = [case_of([lesion(taken_away=0.4, noise=0.4 * factor)], relative_noise=r) for r, factor in law]
    values = fidelity_fit._noise(records, Fidelity()).values
    assert values == pytest.approx({"noise_factor": 1.5, "noise_power": 0.3}, abs=1e-3)


def drawn_lesions(bias, count=400, noise=0.1, tails=1.0):
    """What the model of the best estimate says: a scan right on average, a restored image off by a share of `bias`."""
    random = np.random.default_rng(0)
    for diameter in (7.0, 9.0, 12.0, 15.0, 20.0):
        for _ in range(count):
            scan = 4 + noise * tails * random.standard_normal() * 4
            full = 4 * (1 - bias * random.standard_normal())
            yield lesion(diameter_mm=diameter, scan=scan, full=full, deviation=noise * 4)


def test_bias_and_intervals_are_those_that_the_lesions_were_drawn_with():
    records = [case_of(drawn_lesions(bias=0.3, tails=1.5), relative_noise=1.0)]
    base = Fidelity(noise_factor=1.0, noise_power=0.0)
    bias = fidelity_fit._bias(records, base).values["bias"]
    assert 0.15 < bias < 0.35  # the scan's noise is 1.5 times what is said, so it counts less
    choice = fidelity_fit._interval(records, replace(base, bias=bias))
    assert 1.2 < choice.values["tails"] < 1.8
    shares = fidelity_fit._coverages(records, replace(base, bias=bias, **choice.values))
    assert shares == pytest.approx([0.9] * 5, abs=0.04)


def test_drawn_noise_is_fitted_by_a_line_through_the_doses_where_a_band_lies_between_two_nodes_too():
    gain, kept = np.array([0.9, 1.1, 1.2, 1.3, 1.0]), np.array([0.01, 0.005, 0.0, 0.012, 0.008])
    drawn = np.diag([0.2, 0.3, 0.4, 0.3, 0.1]) + np.diag([0.02, 0.1, 0.0, 0.2], k=-1)  # [bands, nodes]
    scans = {
        f"{times}": {
            "times": times,
            "relative_noise": 0.5,
            "drawn": drawn,
            "missing": drawn @ (gain - kept * (times - 1) / 0.5),
        }
        for times in (2.0, 5.0, 10.0, 20.0)
    }
    values = fidelity_fit._drawn([scans], fidelity_fit.PLAIN).values
    assert values["drawn_gain"] == pytest.approx(gain, abs=1e-3)
    assert values["drawn_kept"] == pytest.approx(kept, abs=1e-3)
    found = replace(fidelity_fit.PLAIN, **values)
    for row in scans.values():  # drawn with what was found, 10 % too much: the next round says so
        row["drawn"] = 1.1 * drawn * (gain - kept * (row["times"] - 1) / 0.5)
    again = fidelity_fit._drawn([scans], found).values
    assert again["drawn_gain"] == pytest.approx(gain / 1.1, abs=1e-2)
    for row in scans.values():
        row |= {"drawn": drawn, "missing": drawn.sum(axis=1) * (1 + 0.01 * row["times"])}  # nothing is kept
    assert fidelity_fit._drawn([scans], fidelity_fit.PLAIN).values["drawn_kept"] == pytest.approx((0,) * 5, abs=1e-3)
    no_liver = {"1": {"times": 20.0}}
    assert fidelity_fit._drawn([no_liver], found).values["drawn_gain"] == (1,) * 5


def test_the_power_in_a_band_is_split_between_the_nodes_around_it():
    x = np.arange(64) * 4.0
    wave = np.broadcast_to(np.sin(2 * np.pi * x / 256 * 26), (8, 8, 64))  # .1016 per mm, in the last band
    mask = np.ones(wave.shape, bool)
    whole, split = (spectrum(wave, mask, (4.0, 4.0, 4.0), *nodes) for nodes in ((), (DRAWN_PER_MM,)))
    assert split.sum(axis=1) == pytest.approx(whole) and whole.argmax() == len(BANDS_PER_MM) - 2
    low, high = DRAWN_PER_MM[-2:]
    assert split[-1] / whole[-1] == pytest.approx(
        [0, 0, 0, (high - 0.1016) / (high - low), (0.1016 - low) / (high - low)], abs=0.01
    )


def test_the_command_writes_what_it_fits_into_the_bundle_and_judges_by_it(folder, bundle, monkeypatch, capsys):
    bundle = shutil.copytree(bundle, folder / "mine")
    common = [
        "fidelity",
        "--cases",
        str(folder / "cases"),
        "--output",
        str(folder / "out.json"),
        "--bundle",
        str(bundle),
    ]
    before = json.loads((bundle / "bundle.json").read_text())
    assert main([*common, "--fit"]) == 2
    assert "fewer than 20 lesions" in capsys.readouterr().err and "fidelity" not in before
    monkeypatch.setattr(fidelity_fit, "LEAST_LESIONS", 1)
    assert main([*common, "--fit"]) == 0
    fitted = load_bundle(bundle).manifest.fidelity
    said = capsys.readouterr().out
    assert f"guard_normal {fitted.guard_normal:g}: the least log-odds" in said and "drawn_gain" in said
    trade = [line for line in said.splitlines() if "found, contrast at SNR 6 to 10" in line]
    assert len(trade) == 1 + len(fidelity_fit.LOG_ODDS) and trade[0].startswith("  off: NMAE +0.00%")
    assert f"drawn_detail {fitted.drawn_detail:g}: the least with which" in said
    after = json.loads((bundle / "bundle.json").read_text())
    assert {key: value for key, value in after.items() if key != "fidelity"} == before
    assert main(common) == 0
    assert "== all: 1 cases, 1 lesions" in capsys.readouterr().out
    assert json.loads((folder / "out.json").read_text())["fidelity"]["place"] == fitted.place


def test_a_guard_may_cost_error_hot_spots_and_lesions_found_only_so_much():
    price = fidelity_fit.Price(error=0.01, hot_spots=1.0, found=0.05)
    off = {"nmae": 0.1, "more_hot_spots": -2.0, "found": 0.5}
    fine = {"nmae": 0.1009, "more_hot_spots": 1.0, "found": 0.451}
    assert price.keeps(off, off) and price.keeps(off, fine)
    for dear in ({"nmae": 0.1011}, {"more_hot_spots": 1.1}, {"found": 0.44}):
        assert not price.keeps(off, fine | dear)


def test_too_few_lesions_are_refused(restored):
    with pytest.raises(InputError, match="fewer than 20"):
        fidelity_fit.fit_fidelity(restored)


def test_the_odds_are_fitted_on_their_own_cases_and_written_into_the_bundle(folder, bundle, monkeypatch, capsys):
    bundle = shutil.copytree(bundle, folder / "with-odds")
    folders = {name: str(folder / name) for name in ("cases", "odds.json")}
    command = ["fidelity", "--cases", folders["cases"], "--odds-cases", folders["cases"], "--bundle", str(bundle)]
    command += ["--output", folders["odds.json"], "--restored", str(folder / "restored")]
    monkeypatch.setattr(loss_odds_fit, "LEAST_LOST", 10_000)
    assert main(command) == 2
    assert "10000 are needed: make more --lesion-rich" in capsys.readouterr().err
    assert "loss_odds" not in json.loads((bundle / "bundle.json").read_text())
    monkeypatch.setattr(loss_odds_fit, "LEAST_LOST", 1)
    monkeypatch.setattr(loss_odds_fit, "INTACT", 10.0)  # the one lesion counts as lost, and every peak as near it
    monkeypatch.setattr("training.evaluation.fidelity.NEAR_MM", 1000.0)
    assert main(command) == 0
    said, fitted = capsys.readouterr().out, load_bundle(bundle).manifest.loss_odds
    assert len(fitted.hidden) == loss_odds_fit.HIDDEN and "peaks of 1 cases, " in said
    assert json.loads((folder / "odds.json").read_text())["cases"][0]["places"] != []


def test_a_peak_is_at_the_nearest_lesion_if_one_is_near_and_those_at_an_intact_one_are_no_example(restored):
    (case,) = restored
    (site,) = case.case.sites
    centre = np.round(site.centre).astype(int)
    away = centre + [0, 0, int(40 / case.scan.spacing_mm[0])]
    assert case.lesions_at(np.array([centre, away])).tolist() == [0, -1]
    assert case.lesions_at(np.zeros((0, 3), int)).tolist() == []
    (left,) = case.left_by_network
    assert left == pytest.approx(figures(case, Fidelity())["lesions"][0]["recovered"]["off"])
    every = len(case.peaks)
    features, lost = loss_odds_fit.examples_of(case)
    at = case.lesions_at(np.array([peak.index for peak in case.peaks])) == 0
    assert len(features) == len(lost) == (every if left < 0.9 else every - at.sum())
    assert lost.sum() == (at.sum() if left < 0.9 else 0)
