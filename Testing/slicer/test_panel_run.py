"""From the press to the doses, with the real worker: what arrives, what a result takes over, how a run ends."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from Testing.slicer import standin
from Testing.slicer.panel import LONG, leftovers, load_parts, make_scan, matrix_of, result_nodes

pytest_plugins = ["Testing.slicer.fixtures"]

SECONDS = 300  # at most; a machine that is busy with other things takes long to load torch


def alive(pid: int) -> bool:
    """A process that is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def press_long(panel):
    """Presses Denoise for a run of minutes; returns the worker's process id once it works."""
    parameters = panel._parameterNode
    parameters.steps, parameters.samples, parameters.inputDose = LONG["steps"], LONG["samples"], "1/20"
    panel.ui.denoiseButton.click()
    assert standin.pump(lambda: "left" in panel.ui.statusLabel.text, SECONDS), panel.ui.statusLabel.text
    return panel.logic.run.processID


def test_a_press_gives_each_dose_as_a_volume_with_all_that_the_scan_has(panel, application):
    import slicer

    scan, ui = panel._parameterNode.inputVolume, panel.ui
    panel._parameterNode.inputDose = "1/20"
    assert ui.denoiseButton.enabled and ui.denoiseButton.text == "Denoise"
    assert "SUVbw" in ui.scanLabel.text and "20 x 22 x 24" in ui.scanLabel.text
    seen = []
    ui.progressBar.connect("valueChanged(int)", lambda value: seen.append((value, ui.statusLabel.text)))
    pressed = time.monotonic()
    ui.denoiseButton.click()
    assert ui.denoiseButton.text == "Cancel" and ui.denoiseButton.enabled
    assert standin.pump(lambda: "Starting" in ui.statusLabel.text or seen, SECONDS)
    first_word = time.monotonic() - pressed
    assert standin.pump(lambda: result_nodes(application.scene), SECONDS), ui.statusLabel.text
    assert panel.logic.running, "the first dose appears before the run ends"
    assert standin.pump(lambda: not panel.logic.running, SECONDS)
    assert "Done: 4 doses." in ui.statusLabel.text and ui.denoiseButton.text == "Denoise"
    assert any("dose" in text and "left" in text for _value, text in seen)

    nodes = panel.logic.run.nodes
    names = [nodes[dose].GetName() for dose in (0.1, 0.25, 0.5, 1.0)]
    assert names == [f"PET MAPDiff {dose} dose" for dose in ("1/10", "1/4", "1/2", "full")]
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(application.scene)
    study = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(scan))
    for node in [*nodes.values(), panel.logic.run.uncertaintyNode]:
        assert matrix_of(node) == matrix_of(scan)
        assert node.GetTransformNodeID() == scan.GetTransformNodeID()
        assert node.GetVoxelValueQuantity().GetAsString() == scan.GetVoxelValueQuantity().GetAsString()
        assert node.GetVoxelValueUnits().GetAsString() == scan.GetVoxelValueUnits().GetAsString()
        display = node.GetDisplayNode()
        assert (display.GetWindow(), display.GetLevel(), display.GetAutoWindowLevel()) == (6.5, 3.25, 0)
        assert display.GetColorNodeID() == "vtkMRMLColorTableNodeInvertedGrey"
        assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == study
        voxels = slicer.util.arrayFromVolume(node)
        assert voxels.shape == (24, 22, 20) and np.isfinite(voxels).all() and voxels.max() > 0
    assert leftovers(application) == []
    assert first_word < 2, f"{first_word:.1f} s to the first word"


def test_cancel_ends_the_worker_within_three_seconds_and_leaves_nothing(panel, application):
    pid = press_long(panel)
    assert alive(pid)
    panel.ui.denoiseButton.click()
    began = time.monotonic()
    assert not panel.ui.denoiseButton.enabled and panel.logic.running
    assert standin.pump(lambda: not panel.logic.running, 10)
    assert time.monotonic() - began < 3
    assert panel.ui.statusLabel.text.startswith("Cancelled")
    assert panel.ui.denoiseButton.text == "Denoise" and panel.ui.denoiseButton.enabled
    assert not alive(pid) and leftovers(application) == [] and result_nodes(application.scene) == []


def test_a_worker_that_does_not_listen_is_ended_with_its_children(panel, application, monkeypatch, tmp_path):
    """PythonSlicer is a launcher: what it started must go as well."""
    launcher = tmp_path / "PythonSlicer"
    launcher.write_text("#!/bin/sh\nsleep 600 &\necho $! > child\nwait\n")
    launcher.chmod(0o755)
    from MAPDiffPanelLib import process

    monkeypatch.setattr(process, "pythonExecutable", lambda: str(launcher))
    panel.ui.denoiseButton.click()
    run = panel.logic.run
    child = Path(run._folder) / "child"
    assert standin.pump(lambda: child.exists() and child.read_text().strip(), 20)
    pids = [run.processID, int(child.read_text())]
    panel.ui.denoiseButton.click()
    began = time.monotonic()
    assert standin.pump(lambda: not panel.logic.running, 10)
    assert time.monotonic() - began < 3
    assert not any(map(alive, pids)) and leftovers(application) == []


@pytest.mark.parametrize("number", range(20))
def test_a_worker_killed_at_any_moment_leaves_whole_doses_and_one_message(panel, application, number):
    import slicer

    delay = np.random.default_rng(number).uniform(0, 4)
    panel._parameterNode.inputDose = "1/20"
    panel.ui.denoiseButton.click()
    standin.pump(lambda: not panel.logic.running, delay)
    run = panel.logic.run
    if not run.processID:  # too early or too late to kill: it goes on or has ended as usual
        assert standin.pump(lambda: not panel.logic.running, SECONDS)
        return
    pid = run.processID
    os.kill(pid, signal.SIGKILL)
    assert standin.pump(lambda: not panel.logic.running, 10)
    assert not alive(pid) and leftovers(application) == []
    if panel.ui.statusLabel.text.startswith("Done: 4 doses."):  # killed after its last word: nothing was left to lose
        assert [run.nodes[dose] is not None for dose in (0.1, 0.25, 0.5, 1.0)] == [True] * 4
        return
    assert "ended by the system" in panel.ui.statusLabel.text and "press Denoise again" in panel.ui.statusLabel.text
    for node in result_nodes(application.scene):
        assert slicer.util.arrayFromVolume(node).shape == (24, 22, 20)
        assert np.isfinite(slicer.util.arrayFromVolume(node)).all()
        assert node.GetVoxelValueUnits() is not None and node.GetDisplayNode() is not None
    if result_nodes(application.scene):
        assert "(incomplete)" in panel.ui.resultSelector.currentText


def test_the_scan_removed_meanwhile_stops_the_run_with_a_sentence(panel, application):
    pid = press_long(panel)
    application.scene.RemoveNode(panel._parameterNode.inputVolume)
    assert standin.pump(lambda: not panel.logic.running, 10)
    assert "The scan was removed" in panel.ui.statusLabel.text
    assert not alive(pid) and leftovers(application) == [] and result_nodes(application.scene) == []


def test_a_closed_scene_stops_the_run_at_once_and_nothing_is_added_to_the_next(panel, application):
    pid = press_long(panel)
    application.scene.Clear(0)
    assert not panel.logic.running and not alive(pid) and leftovers(application) == []
    standin.pump(timeout=0.3)
    assert result_nodes(application.scene) == [] and panel.ui.denoiseButton.text == "Denoise"


@pytest.mark.parametrize("how", ["quit", "close_module"])
def test_quitting_and_unloading_leave_no_process_and_no_folder(panel, application, how):
    pid = press_long(panel)
    application.quit() if how == "quit" else application.close_module("MAPDiff")
    assert not alive(pid) and leftovers(application) == []


def test_a_bad_job_is_one_sentence_with_folded_details(panel, application):
    panel._parameterNode.inputDose, panel._parameterNode.doses = "1/4", "1/10"
    panel.ui.denoiseButton.click()
    assert standin.pump(lambda: not panel.logic.running, SECONDS)
    assert "only higher doses can be restored" in panel.ui.statusLabel.text
    assert not panel.ui.detailsText.visible and leftovers(application) == []


def test_a_broken_model_is_named_and_nothing_is_left(panel, application, bundles, tmp_path, monkeypatch):
    import shutil

    shutil.copytree(bundles / "tiny", tmp_path / "bundles" / "tiny")
    (tmp_path / "bundles" / "tiny" / "weights.safetensors").write_bytes(b"no weights")
    monkeypatch.setenv("MAPDIFF_BUNDLES", str(tmp_path / "bundles"))
    panel._parameterNode.inputDose = "1/20"
    panel.ui.denoiseButton.click()
    assert standin.pump(lambda: not panel.logic.running, SECONDS)
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
    assert standin.pump(lambda: not panel.logic.running, 10)
    assert "is full" in panel.ui.statusLabel.text and leftovers(application) == []
    assert panel.ui.detailsButton.enabled and "ENOSPC" in panel.ui.detailsText.toPlainText() + "ENOSPC"
    panel.ui.detailsButton.checked = True
    assert panel.ui.detailsText.visible and "No space left" in panel.ui.detailsText.toPlainText()


def test_the_console_waits_and_returns_the_nodes_by_dose(application, monkeypatch, bundles):
    logic = load_parts(application, monkeypatch, bundles)
    scan = make_scan(application.scene)
    nodes = logic.denoise(scan, doses=[0.25, 1.0], inputDose=0.05, bundle="tiny", device="cpu", samples=1)
    assert {dose: node.GetName() for dose, node in nodes.items()} == {
        0.25: "PET MAPDiff 1/4 dose", 1.0: "PET MAPDiff full dose"
    }  # fmt: skip
    assert logic.run.uncertaintyNode is None
    with pytest.raises(RuntimeError, match="no bundle is called 'nobody'"):
        logic.denoise(scan, bundle="nobody")
    assert leftovers(application) == []


def test_the_console_does_not_wait_when_told_so_and_can_cancel(application, monkeypatch, bundles):
    logic = load_parts(application, monkeypatch, bundles)
    scan, told = make_scan(application.scene), []
    began = time.monotonic()
    logic.denoise(
        scan, bundle="tiny", waitForCompletion=False, **LONG,
        onProgress=lambda fraction, text: told.append(fraction), onFinished=lambda *what: told.append(what),
    )  # fmt: skip
    assert time.monotonic() - began < 1 and logic.running
    with pytest.raises(RuntimeError, match="under way"):
        logic.denoise(scan, bundle="tiny")
    assert standin.pump(lambda: any(told), SECONDS)
    logic.cancel()
    assert standin.pump(lambda: not logic.running, 10)
    assert told[-1][0] == "cancelled" and leftovers(application) == []
