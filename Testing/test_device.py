"""A torch or a GPU that is there and useless is told in a sentence, and the CPU takes over where it may."""

from __future__ import annotations

import sys
from importlib import metadata

import pytest
import torch

from MAPDiffLib.__main__ import main
from MAPDiffLib.errors import InputError
from MAPDiffLib.jobs import libraries
from MAPDiffLib.jobs.probe import probe
from MAPDiffLib.restoration.device import choose_compute, trial
from Testing import tiny


def test_a_device_is_tried_with_a_tiny_convolution():
    assert trial(torch.device("cpu"), torch.float32) == "" and trial(torch.device("cpu"), torch.bfloat16) == ""
    assert "meta" in trial(torch.device("meta"), torch.float32)  # a device that holds no values


@pytest.fixture
def useless_gpu(monkeypatch):
    """torch says that there is a GPU, and cannot compute on it."""
    if torch.cuda.is_available():
        pytest.skip("the GPU of this machine works")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)


def test_a_useless_gpu_is_a_warning_and_the_cpu_computes(useless_gpu):
    said = []
    assert choose_compute("auto", "auto", said.append).device.type == "cpu"
    assert len(said) == 1 and "The GPU cannot be used (" in said[0] and "the CPU computes" in said[0]


def test_a_useless_gpu_that_was_asked_for_is_refused(useless_gpu):
    with pytest.raises(InputError, match="device cuda:0 cannot be used .* choose cpu"):
        choose_compute("cuda", "auto")


def test_the_warning_about_the_gpu_stays_in_the_report(useless_gpu, tmp_path, capsys):
    bundle, scan = tiny.tiny_bundle(tmp_path / "tiny"), tiny.tiny_scan(tmp_path / "scan.nrrd")
    arguments = ["--bundle", str(bundle), "--input-dose", "1/20", "--doses", "full"]
    assert main(["restore", str(scan), "--output", str(tmp_path / "out"), *arguments]) == 0
    assert "The GPU cannot be used" in capsys.readouterr().err
    assert "The GPU cannot be used" in (tmp_path / "out" / "report.json").read_text()


@pytest.mark.parametrize("found", ["1.13.1", "2.1.2+cu118"])
def test_a_torch_that_is_too_old_is_told_before_it_is_loaded(monkeypatch, tmp_path, capsys, found):
    monkeypatch.setattr(metadata, "version", lambda name: found)
    with pytest.raises(ImportError, match=f"torch is {found.split('+')[0]}.*2.2 or newer is needed"):
        libraries.load_libraries()
    assert "2.2 or newer is needed" in probe()["problem"]
    scan = tiny.tiny_scan(tmp_path / "scan.nrrd")
    assert main(["restore", str(scan), "--output", str(tmp_path / "out"), "--bundle", "none"]) == 1
    said = capsys.readouterr().err
    assert "2.2 or newer is needed" in said and "Traceback" not in said


def test_a_torch_at_odds_with_numpy_is_told(monkeypatch, tmp_path, capsys):
    def from_numpy(array):
        raise RuntimeError("Numpy is not available")  # torch 2.2 beside numpy 2

    monkeypatch.setattr(torch, "from_numpy", from_numpy)
    with pytest.raises(ImportError, match="does not work with numpy .* pip install"):
        libraries.load_libraries()
    assert "does not work with numpy" in probe()["problem"]


def test_a_python_that_is_too_old_is_told_by_every_command(monkeypatch, capsys):
    monkeypatch.setattr(sys, "version_info", (3, 9, 10, "final", 0))
    assert main(["probe"]) == 1
    assert "3.10 or newer is needed" in capsys.readouterr().err


def test_an_error_of_torch_is_one_line_with_what_to_do(monkeypatch, capsys):
    def fails():
        raise RuntimeError("CUDA error: device-side assert triggered\nCUDA kernel errors might be reported later")

    monkeypatch.setattr("MAPDiffLib.jobs.probe.probe", fails)
    assert main(["probe"]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "device-side assert" in said and "--device cpu" in said
