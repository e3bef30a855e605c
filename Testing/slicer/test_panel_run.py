"""From the press to the doses, with the real worker: what arrives, what a result takes over, how a run ends."""

from __future__ import annotations

import json
import os
import re
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import numpy as np
import pytest

from Testing.slicer import standin
from Testing.slicer.panel import (
    geometry_of,
    leftovers,
    load_parts,
    make_scan,
    replace_worker,
    result_nodes,
)
from Testing.waiting import WaitingJob
from Testing.workers import alive

pytest_plugins = ["Testing.slicer.fixtures"]


# What the worker says that works on a long run, and how it goes; it needs no torch for that.
WORKING = r"""printf '{"type": "progress", "fraction": 0.1, "stage": "1/10 dose", "remaining_s": 600}\n'
read words
printf '{"type": "done", "status": "cancelled"}\n'
exit 3"""


def press_long(panel):
    """Presses Denoise for a run that goes on until it is ended; returns the worker's process id once it works."""
    panel._parameterNode.inputDose = "1/20"
    panel.ui.denoiseButton.click()
    assert standin.pump(lambda: "left" in panel.ui.statusLabel.text), panel.ui.statusLabel.text
    return panel.logic.run.processID


@pytest.fixture
def long_run(panel, monkeypatch, tmp_path):
    """press_long with another program in the worker's place."""

    def press():
        with monkeypatch.context() as replaced:
            replace_worker(replaced, tmp_path, WORKING)
            return press_long(panel)

    return press


@contextmanager
def waiting_run():
    """Runs that are started meanwhile wait after their first progress message."""
    with TemporaryDirectory() as folder, mock.patch.dict(os.environ, WaitingJob("progress", folder).environment):
        yield


def test_a_press_gives_each_dose_as_a_volume_with_all_that_the_scan_has(panel, application):
    import slicer

    scan, ui = panel._parameterNode.inputVolume, panel.ui
    panel._parameterNode.inputDose, panel._parameterNode.samples = "1/20", 16
    assert ui.denoiseButton.enabled and ui.denoiseButton.text == "Denoise"
    assert "SUVbw" in ui.scanLabel.text and "20 x 22 x 24" in ui.scanLabel.text
    seen, shown = [], []
    ui.progressBar.connect("valueChanged(int)", lambda value: seen.append((value, ui.statusLabel.text)))

    def note_shown(_value):
        shown.append((ui.doseLabel.text, len(result_nodes(application.scene))))

    ui.doseSlider.connect("valueChanged(int)", note_shown)
    ui.denoiseButton.click()
    assert ui.denoiseButton.text == "Cancel" and ui.denoiseButton.enabled
    assert standin.pump(lambda: not panel.logic.running)
    assert "Done: 4 doses." in ui.statusLabel.text and ui.denoiseButton.text == "Denoise"
    assert any("dose" in text and "left" in text for _value, text in seen)
    assert shown == [("1/10", 1), ("1/4", 2), ("1/2", 3), ("full", 4)], "each dose is shown as soon as it is there"

    nodes = panel.logic.run.nodes
    names = [nodes[dose].GetName() for dose in (0.1, 0.25, 0.5, 1.0)]
    assert names == [f"PET MAPDiff {dose} dose" for dose in ("1/10", "1/4", "1/2", "full")]
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(application.scene)
    study = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(scan))
    for node in [*nodes.values(), panel.logic.run.uncertaintyNode]:
        assert geometry_of(node) == geometry_of(scan)
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


def test_cancel_ends_the_worker_and_leaves_nothing(panel, application):
    with waiting_run():
        pid = press_long(panel)
    assert alive(pid)
    panel.ui.denoiseButton.click()
    assert not panel.ui.denoiseButton.enabled and panel.logic.running
    assert standin.pump(lambda: not panel.logic.running)
    assert panel.ui.statusLabel.text.startswith("Cancelled")
    assert panel.ui.denoiseButton.text == "Denoise" and panel.ui.denoiseButton.enabled
    assert not alive(pid) and leftovers(application) == [] and result_nodes(application.scene) == []


def test_the_scan_removed_meanwhile_stops_the_run_with_a_sentence(panel, application, long_run):
    pid = long_run()
    application.scene.RemoveNode(panel._parameterNode.inputVolume)
    assert standin.pump(lambda: not panel.logic.running)
    assert "The scan was removed" in panel.ui.statusLabel.text
    assert not alive(pid) and leftovers(application) == [] and result_nodes(application.scene) == []


def test_a_closed_scene_stops_the_run_at_once_and_nothing_is_added_to_the_next(panel, application, long_run):
    pid = long_run()
    application.scene.Clear(0)
    assert not panel.logic.running and not alive(pid) and leftovers(application) == []
    assert not panel.logic.run.tasks.busy, "a dose that is still being read would come into the next scene"
    standin.turns()
    assert result_nodes(application.scene) == [] and panel.ui.denoiseButton.text == "Denoise"


def test_every_choice_reaches_the_worker(panel):
    ui = panel.ui
    ui.samplesSpinBox.value, ui.seedSpinBox.value, ui.dosesEdit.text = 3, 77, "1/4, full"
    ui.strengthSpinBox.value = 150
    ui.deviceSelector.setCurrentIndex(1)
    ui.dosesAsSelector.setCurrentIndex(1)
    ui.guardSelector.setCurrentIndex(2)
    ui.inputDoseSelector.setCurrentIndex(ui.inputDoseSelector.findText("1/20"))
    ui.denoiseButton.click()
    written = Path(panel.logic.run._folder) / "job.json"
    assert standin.pump(written.exists)
    job = json.loads(written.read_text(encoding="utf-8"))
    chosen = {"bundle": "tiny", "doses": [0.25, 1.0], "input_dose": 0.05, "device": "cpu", "samples": 3}
    chosen |= {"doses_as": "scan", "guard": "strong"}
    chosen["strength"] = 1.5
    assert chosen.items() <= job.items() and job["seed"] == 77
    assert standin.pump(lambda: not panel.logic.running)
    assert sorted(panel.logic.run.nodes) == [0.25, 1.0] and panel.logic.run.report["sampling"]["seed"] == 77
    assert panel.logic.run.nodes[0.25].GetName() == "PET MAPDiff 1/4 dose scan"


def test_doses_as_both_are_means_on_the_slider_and_scans_beside_them_with_one_look(panel, application):
    ui = panel.ui
    ui.samplesSpinBox.value, ui.dosesEdit.text = 1, "1/4, full"
    ui.inputDoseSelector.setCurrentIndex(ui.inputDoseSelector.findText("1/20"))
    ui.dosesAsSelector.setCurrentIndex(2)
    assert ui.dosesAsSelector.currentText == "both (the scans beside the means)"
    ui.denoiseButton.click()
    assert standin.pump(lambda: not panel.logic.running)
    assert ui.statusLabel.text.startswith("Done: 2 doses, and 2 drawn as scans.")
    run, result = panel.logic.run, panel.results.result
    assert [node.GetName() for _dose, node in result.stops[1:]] == ["PET MAPDiff 1/4 dose", "PET MAPDiff full dose"]
    names = [node.GetName() for _dose, node in sorted(result.drawn.items())]
    assert names == ["PET MAPDiff 1/4 dose scan", "PET MAPDiff full dose scan"] and result.complete
    assert result.meanOf(1.0) is run.nodes[1.0] is not run.drawn[1.0]
    run.nodes[1.0].GetDisplayNode().SetWindowLevel(4, 2)
    assert run.drawn[0.25].GetDisplayNode().GetWindow() == 4


@pytest.mark.parametrize("how", ["quit", "close_module"])
def test_quitting_and_unloading_leave_no_process_and_no_folder(panel, application, long_run, how):
    pid = long_run()
    application.quit() if how == "quit" else application.close_module("MAPDiff")
    assert not alive(pid) and leftovers(application) == []


def test_the_console_waits_is_told_of_every_dose_and_returns_the_nodes_by_dose(application, monkeypatch, bundles):
    logic = load_parts(application, monkeypatch, bundles)
    scan, told, ends = make_scan(application.scene), {}, []
    nodes = logic.denoise(
        scan, doses=[0.25, 1.0], inputDose=0.05, bundle="tiny", device="cpu", samples=1, onDose=told.__setitem__,
        onFinished=lambda *what: ends.append(what),
    )  # fmt: skip
    assert told == nodes and ends == [("done", "Done: 2 doses.", "")]
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
    logic.denoise(
        scan, bundle="tiny", inputDose=0.05, waitForCompletion=False,
        onProgress=lambda fraction, text: told.append(fraction), onFinished=lambda *what: told.append(what),
    )  # fmt: skip
    assert logic.running
    with pytest.raises(RuntimeError, match="under way"):
        logic.denoise(scan, bundle="tiny")
    with waiting_run():
        assert standin.pump(lambda: any(told))
    logic.cancel()
    assert standin.pump(lambda: not logic.running)
    assert told[-1][0] == "cancelled" and leftovers(application) == []


def test_a_scan_renamed_and_changed_meanwhile_is_restored_as_it_was_at_the_press(panel, application):
    import slicer

    scan, parameters = panel._parameterNode.inputVolume, panel._parameterNode
    parameters.inputDose = "1/20"
    other = make_scan(application.scene, "another", study=False)
    panel.ui.denoiseButton.click()
    before, matrix = slicer.util.arrayFromVolume(scan).copy(), geometry_of(scan)
    scan.SetName("renamed")
    replaced = vtk_copy(scan.GetImageData())
    scan.SetAndObserveImageData(replaced)
    slicer.util.arrayFromVolume(scan)[:] = 0
    scan.SetSpacing(1, 1, 1)
    parameters.inputVolume = other
    assert panel.logic.running and panel.ui.denoiseButton.text == "Cancel"
    assert standin.pump(lambda: not panel.logic.running)
    assert "voxels were changed meanwhile" in panel.ui.statusLabel.text
    node = panel.logic.run.nodes[1.0]
    assert node.GetName() == "PET MAPDiff full dose" and geometry_of(node) == matrix
    assert abs(slicer.util.arrayFromVolume(node).mean() / before.mean() - 1) < 0.1
    assert panel.ui.denoiseButton.enabled and parameters.inputVolume is other


def vtk_copy(image):
    import vtk

    copied = vtk.vtkImageData()
    copied.DeepCopy(image)
    return copied


def test_pressing_twice_stops_the_run_and_a_third_press_starts_a_new_one(panel, application):
    panel._parameterNode.inputDose = "1/20"
    panel.ui.denoiseButton.click()
    first = panel.logic.run
    panel.ui.denoiseButton.click()
    assert not panel.ui.denoiseButton.enabled and "being stopped" in panel.ui.denoiseButton.toolTip
    panel.ui.denoiseButton.click()  # grey: nobody hears it
    assert panel.logic.run is first
    assert standin.pump(lambda: not panel.logic.running)
    assert panel.ui.statusLabel.text == "Cancelled." and leftovers(application) == []
    panel.ui.denoiseButton.click()
    assert panel.logic.run is not first and panel.logic.running


def test_reloading_while_a_run_goes_on_ends_it_and_the_new_panel_works(panel, application, long_run):
    import slicer

    pid = long_run()
    panel.onReload()
    assert not alive(pid) and leftovers(application) == []
    fresh = slicer.modules.mapdiff.widgetRepresentation().self()
    assert fresh is not panel and not fresh.logic.running
    assert type(fresh.options) is not type(panel.options), "the parts are loaded anew as well"
    assert fresh.ui.denoiseButton.enabled, fresh.ui.denoiseButton.toolTip
    fresh.ui.denoiseButton.click()
    assert standin.pump(lambda: not fresh.logic.running)
    assert "Done: 4 doses." in fresh.ui.statusLabel.text
    fresh.exit()


def test_the_first_dose_shows_beside_an_input_whose_dose_nobody_says_and_back_gives_the_users_own_layout(
    panel, application
):
    selector, before = panel.ui.inputDoseSelector, application.layout_manager.layout
    assumed = "taken as 1/20; set it if you know it"
    assert selector.currentText == assumed
    panel.ui.denoiseButton.click()
    assert standin.pump(lambda: panel.ui.pairButton.checked)
    assert standin.pump(lambda: application.layout_manager.layout != before)
    assert standin.pump(lambda: not panel.logic.running)
    assert selector.currentText == assumed, "as long as the list is wide"
    hint = r".* Only a hint: the noise looks like 1/\d+ \(1/\d+ to 1/\d+\)\."
    assert re.fullmatch(hint, selector.toolTip), selector.toolTip
    assert panel.results.result.labels()[0] == "input 1/20"
    panel.ui.backButton.click()
    assert application.layout_manager.layout == before
    panel._parameterNode.inputVolume = make_scan(application.scene, "another", study=False)
    assert "hint" not in selector.toolTip


def test_the_batch_loop_of_the_documentation_restores_every_volume(application, monkeypatch, bundles):
    """With the shipped model, as a user has it."""
    import slicer

    load_parts(application, monkeypatch, bundles)
    text = (Path(__file__).parents[2] / "docs" / "slicer.md").read_text(encoding="utf-8")
    console = text[text.index("From the Python console") :]
    code = console[console.index("```python\n") + len("```python\n") :].partition("```")[0]
    assert "for volume in" in code and "denoise(" in code
    noise = np.random.default_rng(1).gamma(4, 1 / 4, (24, 22, 20))
    for name in ("first", "second"):
        slicer.util.arrayFromVolume(make_scan(application.scene, name, study=False))[:] *= noise
    exec(code, {"slicer": slicer})
    names = sorted(node.GetName() for node in result_nodes(application.scene))
    assert [name for name in names if name.endswith("full dose")] == [
        "first MAPDiff full dose", "second MAPDiff full dose"
    ]  # fmt: skip
    assert leftovers(application) == []
