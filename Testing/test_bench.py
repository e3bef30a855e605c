"""`mapdiff-train bench`: its parts run, on the smallest scan; its table, of measurements worked out by hand."""

from __future__ import annotations

import json

import pytest

from bench import baselines, report, run
from MAPDiffLib.model.bundle import load_bundle
from MAPDiffLib.restoration.device import choose_compute
from MAPDiffLib.scan.volume import read_volume
from Testing.tiny import tiny_bundle, tiny_scan
from training.__main__ import main


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """(scan, folder of a bundle)"""
    folder = tmp_path_factory.mktemp("bench")
    return read_volume(tiny_scan(folder / "scan.nii.gz")), tiny_bundle(folder / "tiny")


def test_what_runs_in_this_process_is_measured_and_written(tiny, tmp_path, monkeypatch, capsys):
    scan, bundle = tiny
    monkeypatch.setitem(run.SCANS, "small", lambda: scan)
    parts = ["arrays", "profile", "fidelity", "roofline", "dtype-and-layout", "unet"]
    settings = ["--repeats", "1", "--edge", "32", "--bundle", str(bundle), "--output", str(tmp_path)]
    assert main(["bench", "--parts", *parts, *settings]) == 0
    measured = json.loads((tmp_path / "speed.json").read_text())["small"]
    assert set(measured) == {"scan", *parts} and (tmp_path / "speed.md").read_text().strip() in capsys.readouterr().out
    ours, unet = (
        measured["arrays"]["all memory"]["seconds"],
        measured["unet"]["(a) plain 3-D U-Net, one pass"]["seconds"],
    )
    assert f"| all doses / plain U-Net, time | {ours / unet:.3g} |" in (tmp_path / "speed.md").read_text()


@pytest.mark.parametrize("make", [baselines._ddpm, baselines._monai_ddim])
def test_our_network_is_run_as_others_would_run_it(make, tiny):
    if make is baselines._monai_ddim:
        pytest.importorskip("monai")
    scan, bundle = tiny
    make(scan, load_bundle(bundle), choose_compute("cpu", "auto")).run()


def test_what_numbers_add_is_set_beside_the_rest_of_a_restoration():
    found = results(6.0)
    found["small"]["fidelity"] = {"seconds": 11.0, "local": 0.5, "drawn": 0.5}
    assert any("drawn scans over the rest | 0.1 | at most 0.15 | met" in row for row in report.bars(found))


def results(seconds):
    ours = {"seconds": seconds, "runs": 5, "sampling": {"samples": 6}}
    unet = {"(a) plain 3-D U-Net, one pass": {"seconds": 20.0, "runs": 5, "how": "one patch x 9"}}
    machine = {
        "device": "a CPU",
        "threads": 2,
        "precision": "float32",
        "torch": "2",
        "load_at_start": 0.1,
        "cudnn": None,
    }
    scan = {"shape_zyx": (128, 64, 64)}
    return {"machine": machine, "small": {"scan": scan, "arrays": {"all memory": ours}, "unet": unet}}


@pytest.mark.parametrize(("seconds", "ratio", "met"), [(5.0, "0.25", "met"), (7.0, "0.35", "**missed**")])
def test_the_time_of_all_doses_over_the_plain_unets_stands_in_the_table_and_beside_its_bar(seconds, ratio, met):
    lines = report.table(results(seconds)).splitlines()
    assert f"| (a) plain 3-D U-Net, one pass | 20.00 | {ratio} | 5 | one patch x 9 |" in lines
    assert f"| all doses / plain U-Net, time | {ratio} | at most 0.3 | {met} |" in lines
