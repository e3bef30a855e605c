"""The panel follows the scene by itself: what comes late, what goes, what others than the panel put there."""

from __future__ import annotations

import os

import pytest

from Testing.slicer import standin
from Testing.slicer.panel import make_result, make_scan, make_volume, open_panel, scan_voxels

pytest_plugins = ["Testing.slicer.fixtures"]


def test_after_reload_the_shown_panel_works_at_once_with_its_keys(panel):
    import slicer

    panel.onReload()
    fresh = slicer.modules.mapdiff.widgetRepresentation().self()
    assert fresh is not panel and fresh._parameterNode is not None and fresh._shortcuts
    assert fresh.ui.denoiseButton.enabled, fresh.ui.denoiseButton.toolTip
    fresh.cleanup()


def test_a_module_that_is_reloaded_while_another_is_shown_takes_no_keys(panel):
    import slicer

    slicer.modules.mapdiff.widgetRepresentation().exit()
    panel.onReload()
    fresh = slicer.modules.mapdiff.widgetRepresentation().self()
    assert fresh._shortcuts == []
    fresh.cleanup()


def test_a_volume_whose_voxels_come_after_its_node_can_be_restored(panel, application):
    import slicer

    node = application.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "from an array")
    panel._parameterNode.inputVolume = node
    assert "no voxels" in panel.ui.denoiseButton.toolTip
    slicer.util.updateVolumeFromArray(node, scan_voxels())
    assert standin.pump(lambda: panel.ui.denoiseButton.enabled), panel.ui.denoiseButton.toolTip
    assert "20 x 22 x 24" in panel.ui.scanLabel.text


def test_units_that_come_after_the_voxels_are_shown(panel, application):
    from MAPDiffPanelLib.units import setUnits, suvUnits

    node = make_volume(application.scene, scan_voxels(), "units later")
    panel._parameterNode.inputVolume = node
    assert "units unknown" in panel.ui.scanLabel.text
    setUnits(node, *suvUnits())
    assert standin.pump(lambda: "SUVbw" in panel.ui.scanLabel.text), panel.ui.scanLabel.text


def test_the_first_scan_that_comes_into_an_empty_scene_is_chosen(application, monkeypatch, bundles):
    panel = open_panel(application, monkeypatch, bundles)
    node = make_volume(application.scene, scan_voxels())
    assert standin.pump(lambda: panel._parameterNode.inputVolume is node)
    make_volume(application.scene, scan_voxels(), "another")
    assert standin.pump(lambda: not panel.scan.waiting)
    assert panel._parameterNode.inputVolume is node


def test_restored_doses_are_no_scans_to_restore_also_when_the_scan_goes(panel, application):
    scan = panel._parameterNode.inputVolume
    make_result(application.scene, scan)
    selector = panel.ui.inputSelector
    assert standin.pump(lambda: selector.nodeCount() == 1)
    assert panel.results.result is not None and selector.currentNode() is scan
    application.scene.RemoveNode(scan)
    assert selector.currentNode() is None and panel._parameterNode.inputVolume is None
    other = make_scan(application.scene, "another", study=False)
    assert standin.pump(lambda: panel._parameterNode.inputVolume is other)


def test_a_result_of_the_console_is_seen_and_so_is_its_end(panel, application):
    from MAPDiffPanelLib.outputs import COMPLETE

    nodes = make_result(application.scene, panel._parameterNode.inputVolume, complete=False)
    assert standin.pump(lambda: panel.ui.resultSelector.currentText.endswith("(incomplete)"))
    for node in nodes.values():
        node.SetAttribute(COMPLETE, "1")
    assert standin.pump(lambda: "(incomplete)" not in panel.ui.resultSelector.currentText)


@pytest.mark.parametrize(
    "count, drawn, words",
    [(1, 0, "Done: 1 dose."), (2, 0, "Done: 2 doses."), (1, 1, "Done: 1 dose, and 1 drawn as a scan."),
     (2, 2, "Done: 2 doses, and 2 drawn as scans.")],
)  # fmt: skip
def test_one_dose_is_one_and_two_are_many(panel, count, drawn, words):
    from MAPDiffPanelLib.progress import doneWords

    assert doneWords(count, drawn) == words


@pytest.mark.skipif(not hasattr(os, "getpriority"), reason="Windows has no niceness")
def test_a_time_left_that_has_grown_says_why_where_slicer_runs_at_low_priority(panel, monkeypatch):
    """The first estimate says when the run is to end: a later one that is far beyond it has grown, at whatever speed
    the machine is."""
    from MAPDiffPanelLib.progress import Progress

    def words(nice):
        monkeypatch.setattr(os, "getpriority", lambda *_process: nice)
        stages, progress = (("1/10 dose", 60), ("1/4 dose", 6000), ("writing", None)), Progress()
        return [progress.words({"stage": stage, "remaining_s": seconds}) for stage, seconds in stages]

    assert words(19) == ["1/10 dose, 60 s left", "1/4 dose, 100 min left (other programs go first)", "writing"]
    assert words(0) == ["1/10 dose, 60 s left", "1/4 dose, 100 min left", "writing"]


def test_labels_end_with_a_colon(panel):
    import slicer

    labels = [label.text for label in slicer.util.findChildren(panel.parent, className="QLabel")]
    beside = {"Low-dose PET", "Its dose", "Model", "Doses", "Device", "Samples", "Seed", "Result", "Dose", "View"}
    assert {f"{text}:" for text in beside} <= set(labels) and not beside & set(labels)
