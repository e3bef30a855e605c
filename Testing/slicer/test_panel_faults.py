"""What can go wrong with a run, provoked: each is one sentence on the panel, and nothing is left behind."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from MAPDiffLib.errors import says_out_of_memory
from Testing.slicer import standin
from Testing.slicer.panel import (
    body_voxels,
    leftovers,
    make_volume,
    replace_worker,
    result_nodes,
)
from Testing.waiting import wait_until
from Testing.workers import alive

pytest_plugins = ["Testing.slicer.fixtures"]


def test_a_worker_that_does_not_listen_is_ended_with_its_children(panel, application, monkeypatch, tmp_path):
    """PythonSlicer is a launcher: what it started must go as well."""
    replace_worker(monkeypatch, tmp_path, "sleep 600 &\necho $! > child\nwait")
    panel.ui.denoiseButton.click()
    run = panel.logic.run
    child = Path(run._folder) / "child"
    assert standin.pump(lambda: child.exists() and child.read_text().strip())
    pids = [run.processID, int(child.read_text())]
    panel.ui.denoiseButton.click()
    assert standin.pump(lambda: not panel.logic.running and not any(map(alive, pids)))
    assert leftovers(application) == []


# On every run one at a word, one before the first dose and one later; all twenty with `make test-long`.
@pytest.mark.parametrize(
    "number", [n if n in (0, 1, 3) else pytest.param(n, marks=pytest.mark.long) for n in range(20)]
)
def test_a_worker_killed_at_any_moment_leaves_whole_doses_and_one_message(panel, application, number):
    """A third of the moments lie before the first progress, at a word of the worker's, the others at a random
    fraction of it. The run is long after its first progress, so that a fast machine is not done before the kill.
    """
    import slicer

    moment = np.random.default_rng(number).uniform(-0.5, 0.99)
    panel._parameterNode.inputDose, panel._parameterNode.samples = "1/20", 64
    panel.ui.denoiseButton.click()
    run = panel.logic.run
    assert standin.pump(lambda: run.processID)
    pid = run.processID
    killed = []

    def kill():
        if not killed:
            killed.append(True)
            with contextlib.suppress(ProcessLookupError):  # its last word may be read after it ended
                os.kill(pid, signal.SIGKILL)

    if moment < 0:
        words = ("", "Starting", "Loading", "Reading")[int(8 * (moment + 0.5))]
        label, bar = panel.ui.statusLabel, panel.ui.progressBar
        assert standin.pump(lambda: words in label.text or bar.value > 0)
        kill()
    else:
        panel.ui.progressBar.connect("valueChanged(int)", lambda value: value >= 1000 * moment and kill())
    assert standin.pump(lambda: not panel.logic.running) and killed
    assert not alive(pid) and leftovers(application) == []
    if panel.ui.statusLabel.text.startswith("Done: 4 doses."):  # killed after its last word: nothing was left to lose
        assert sorted(run.nodes) == [0.1, 0.25, 0.5, 1.0] and moment > 0
        return
    assert "ended by the system" in panel.ui.statusLabel.text and "press Denoise again" in panel.ui.statusLabel.text
    assert application.dialogs.shown == []
    for node in result_nodes(application.scene):
        assert slicer.util.arrayFromVolume(node).shape == (24, 22, 20)
        assert np.isfinite(slicer.util.arrayFromVolume(node)).all()
        assert node.GetVoxelValueUnits() is not None and node.GetDisplayNode() is not None
    if result_nodes(application.scene):
        assert "(incomplete)" in panel.ui.resultSelector.currentText


def test_a_bad_job_is_one_sentence_with_folded_details(panel, application):
    panel._parameterNode.inputDose, panel._parameterNode.doses = "1/4", "1/10"
    panel.ui.denoiseButton.click()
    assert standin.pump(lambda: not panel.logic.running)
    assert "only higher doses can be restored" in panel.ui.statusLabel.text
    assert not panel.ui.detailsText.visible and leftovers(application) == []


def test_the_scan_is_named_by_its_own_name_not_by_the_file_of_the_worker(panel, application):
    voxels = body_voxels()[::8, ::8, ::8].copy()
    voxels[1, 2, 3] = np.nan
    panel._parameterNode.inputVolume = make_volume(application.scene, voxels, "PET of Tuesday")
    panel.ui.denoiseButton.click()
    assert standin.pump(lambda: not panel.logic.running)
    assert "PET of Tuesday has 1 voxels that are not finite" in panel.ui.statusLabel.text
    assert "input.nrrd" not in panel.ui.statusLabel.text


def test_a_broken_model_is_named_and_nothing_is_left(panel, application, bundles, tmp_path, monkeypatch):
    import shutil

    shutil.copytree(bundles / "tiny", tmp_path / "bundles" / "tiny")
    (tmp_path / "bundles" / "tiny" / "weights.safetensors").write_bytes(b"no weights")
    monkeypatch.setenv("MAPDIFF_BUNDLES", str(tmp_path / "bundles"))
    panel._parameterNode.inputDose = "1/20"
    panel.ui.denoiseButton.click()
    assert standin.pump(lambda: not panel.logic.running)
    assert "weights.safetensors" in panel.ui.statusLabel.text and "copy the bundle again" in panel.ui.statusLabel.text
    assert result_nodes(application.scene) == [] and leftovers(application) == []


def test_a_full_disk_is_said_and_nothing_is_left(panel, application, monkeypatch):
    import errno

    from MAPDiffPanelLib import run

    def full(*_arguments):
        raise OSError(errno.ENOSPC, "No space left on device")
        yield

    monkeypatch.setattr(run, "writeNrrd", full)
    panel.ui.denoiseButton.click()
    assert standin.pump(lambda: not panel.logic.running)
    assert "is full" in panel.ui.statusLabel.text and leftovers(application) == []
    assert panel.ui.detailsButton.enabled and "ENOSPC" in panel.ui.detailsText.toPlainText() + "ENOSPC"
    panel.ui.detailsButton.checked = True
    assert panel.ui.detailsText.visible and "No space left" in panel.ui.detailsText.toPlainText()


# What a worker with `room` bytes of memory left after loading its libraries is started with: the real worker.
LIMITED = """
import resource, runpy, sys
import torch, MAPDiffLib.restoration.restore
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + {room},) * 2)
sys.argv = sys.argv[2:]
runpy.run_module("MAPDiffLib", run_name="__main__")
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="only Linux limits and tells a process's memory so")
@pytest.mark.parametrize("room", [40_000_000, 250_000_000], ids=["while reading", "while restoring"])
def test_a_worker_without_memory_says_so_and_what_to_do(panel, application, monkeypatch, tmp_path, room):
    (tmp_path / "limited.py").write_text(LIMITED.format(room=room))
    replace_worker(monkeypatch, tmp_path, f'exec "{sys.executable}" "{tmp_path}/limited.py" "$@"')
    panel._parameterNode.inputVolume = make_volume(application.scene, body_voxels(), "whole body")
    panel._parameterNode.inputDose, panel._parameterNode.samples = "1/20", 4
    panel.ui.denoiseButton.click()
    assert standin.pump(lambda: not panel.logic.running)
    assert panel.ui.statusLabel.text.startswith("Memory ran out."), panel.ui.statusLabel.text
    assert "fewer samples" in panel.ui.statusLabel.text
    # Who meets the end first is the machine's affair: Python, torch, a thread to be started, the system's loader.
    assert says_out_of_memory(panel.ui.detailsText.toPlainText())
    assert result_nodes(application.scene) == [] and leftovers(application) == []
    assert panel.ui.denoiseButton.enabled and panel.ui.denoiseButton.text == "Denoise"


@pytest.mark.parametrize(
    "size, words", [("20k", "is full"), ("60k", "Is the disk full")], ids=["for the scan", "for a dose"]
)
def test_a_disk_that_is_really_full_is_said_and_nothing_is_left(panel, application, monkeypatch, tmp_path, size, words):
    mounted = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(tmp_path)]
    if shutil.which("mount") is None or subprocess.run(mounted, capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        from MAPDiffPanelLib import job_folder

        monkeypatch.setattr(job_folder, "temporaryPath", lambda: str(tmp_path))
        panel._parameterNode.inputDose = "1/20"
        panel.ui.denoiseButton.click()
        assert standin.pump(lambda: not panel.logic.running)
        assert words in panel.ui.statusLabel.text, panel.ui.statusLabel.text
        assert result_nodes(application.scene) == [] and list(tmp_path.iterdir()) == []
    finally:
        # The worker's reader, which lives a moment longer, may still have its folder there.
        wait_until(lambda: subprocess.run(["umount", str(tmp_path)], capture_output=True).returncode == 0)


def test_a_dose_that_cannot_be_read_adds_no_node_and_stops_the_run(panel, application, monkeypatch, tmp_path):
    """A damaged file is nothing that the real worker announces: it writes whole files."""
    message = r'{"type": "dose", "dose": 0.1, "file": "%s/half.nrrd", "figures": {}}\n'
    script = f"""echo NRRD0004 > half.nrrd
printf '{message}' "$PWD"
exec sleep 600"""
    replace_worker(monkeypatch, tmp_path, script)
    panel.ui.denoiseButton.click()
    assert standin.pump(lambda: panel.logic.run.processID)
    pid = panel.logic.run.processID
    assert standin.pump(lambda: not panel.logic.running)
    assert "A result could not be read" in panel.ui.statusLabel.text and "half.nrrd" in panel.ui.statusLabel.text
    assert result_nodes(application.scene) == [] and leftovers(application) == [] and not alive(pid)


def test_a_worker_that_cannot_be_started_is_said(panel, application, monkeypatch, tmp_path):
    from MAPDiffPanelLib import process

    monkeypatch.setattr(process, "pythonExecutable", lambda: str(tmp_path / "nowhere"))
    panel.ui.denoiseButton.click()
    assert standin.pump(lambda: not panel.logic.running)
    assert "could not be started" in panel.ui.statusLabel.text and leftovers(application) == []
