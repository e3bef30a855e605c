"""The best estimate of a region in the table: by a real child, as the library computes it, and nothing left of it."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
from scipy import ndimage

from Testing.slicer import standin
from Testing.slicer.panel import leftovers, make_result, pieces_of, replace_worker
from Testing.waiting import WaitingCall
from Testing.workers import alive

pytest_plugins = ["Testing.slicer.fixtures"]


@pytest.fixture
def measured(panel, application):
    """A result whose restored images are quiet, a sphere of the scan lost in them, and an ROI over some even voxels."""
    import slicer
    from MAPDiffPanelLib import regions

    scan = panel._parameterNode.inputVolume
    nodes = make_result(application.scene, scan, doses=(0.25, 1.0))
    quiet = ndimage.gaussian_filter(np.minimum(slicer.util.arrayFromVolume(scan), 1.5), 1)
    for node in nodes.values():
        slicer.util.arrayFromVolume(node)[:] = quiet
    roi = application.scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "lesion")
    roi.SetSize(20, 20, 20)

    def place(i, j, k):
        roi.SetCenter(*regions.worldOf(scan, np.array([[i, j, k]]))[0])

    place(10, 11, 6)
    panel.results.refresh()
    return panel, roi, place


def row(panel):
    """The last row: its name and its words."""
    table = panel.ui.numbersTable
    last = table.rowCount - 1
    return [table.item(last, column).text() for column in (0, 1)] if last >= 0 else None


def estimate_of(panel, *fidelity):
    """The library's own estimate in the region that the panel measures in."""
    import slicer

    from MAPDiffLib.restoration.quantify import Quantifier
    from MAPDiffLib.scan.body import body_mask
    from Testing.slicer.panel import finished

    section, result = panel.results.measurements, panel.results.result
    region, scan = finished(section._region()), slicer.util.arrayFromVolume(result.inputNode)
    mask = np.zeros(scan.shape, bool)
    mask[region.slices] = region.mask
    spacing = result.inputNode.GetSpacing()
    full = slicer.util.arrayFromVolume(result.doses[1.0])
    return Quantifier(scan, full, body_mask(scan, spacing), spacing, *fidelity).best_mean(mask)


def asked(panel):
    """The process of a question that has begun."""
    assert standin.pump(lambda: panel.results.measurements._asker.processID)
    return panel.results.measurements._asker.processID


def answered(panel):
    """The row, once the answer is there."""
    section = panel.results.measurements
    assert standin.pump(lambda: section.rows and not section.busy)
    return row(panel)


def test_an_automatic_region_has_no_estimate_and_the_row_says_what_to_choose(measured, application):
    panel, _roi, _place = measured
    assert answered(panel) == ["estimate", "choose an ROI or a segment"]
    assert leftovers(application) == []


def test_the_estimate_of_an_roi_is_the_librarys_with_its_interval_and_a_warning_where_noise_explains_it_not(measured):
    panel, roi, place = measured
    panel.ui.regionSelector.setCurrentNode(roi)
    assert standin.pump(lambda: panel.results.measurements.rows)
    assert row(panel) == ["estimate", "being computed"]
    even, shown = estimate_of(panel), answered(panel)
    assert shown[1] == f"{even.value:.2f} (90 %: {even.low:.2f} to {even.high:.2f})"
    assert panel.ui.numbersLabel.text == ""
    assert even.warning == "" and even.low < even.value < even.high
    place(8, 11, 16)  # the ball that the restored images lack
    assert standin.pump(lambda: row(panel)[1].endswith("!")), row(panel)
    lost = estimate_of(panel)
    assert lost.t > 2.5 and row(panel)[1] == f"{lost.value:.2f} (90 %: {lost.low:.2f} to {lost.high:.2f}) !"
    assert panel.ui.numbersLabel.text == "! the restored scan is lower here than its noise explains"


def test_the_estimate_is_by_what_the_results_bundle_says_of_its_errors(measured):
    import json

    from MAPDiffLib.model.fidelity import Fidelity, parse_fidelity

    panel, roi, _place = measured
    wide = Fidelity(tails=5.0)
    for node in panel.results.result.doses.values():
        node.SetAttribute("MAPDiff.Fidelity", json.dumps(asdict(wide)))
    assert parse_fidelity(panel.results.result.fidelity) == wide
    panel.ui.regionSelector.setCurrentNode(roi)
    usual, wanted = estimate_of(panel), estimate_of(panel, wide)
    assert wanted.high - wanted.low > usual.high - usual.low
    assert answered(panel)[1] == f"{wanted.value:.2f} (90 %: {wanted.low:.2f} to {wanted.high:.2f})"


def test_the_estimate_is_in_suv_where_the_factor_is_known_and_goes_with_copy_and_table(measured, application):
    import json

    import qt
    import slicer
    from MAPDiffPanelLib.units import SUV_FACTS

    panel, roi, _place = measured
    for node in panel.results.result.nodes:
        node.SetVoxelValueUnits(slicer.vtkCodedEntry())
        node.SetAttribute(SUV_FACTS, json.dumps({"units": "BQML", "suv_factor": "2.5"}))
    panel.ui.regionSelector.setCurrentNode(roi)
    plain, shown = estimate_of(panel), answered(panel)
    wanted = [f"{2.5 * each:.2f}" for each in (plain.value, plain.low, plain.high)]
    assert shown[1] == f"{wanted[0]} (90 %: {wanted[1]} to {wanted[2]})"
    panel.ui.copyButton.click()
    head, *_doses, last = [line.split("\t") for line in qt.QApplication.clipboard().text().splitlines()]
    assert head[-2:] == ["low (90 %)", "high (90 %)"]
    assert last == ["best estimate", "-", wanted[0], "-", "-", "-", *wanted[1:]]
    panel.ui.tableButton.click()
    table = application.scene.GetFirstNodeByClass("vtkMRMLTableNode").GetTable()
    assert table.GetNumberOfRows() == 4
    assert table.GetColumnByName("SUVmean").GetValue(3) == pytest.approx(2.5 * plain.value, rel=1e-4)


@pytest.fixture
def held(monkeypatch, tmp_path):
    """Children wait where they would compute, until they are let go."""
    call = WaitingCall("MAPDiffLib.report.region_statistics", "region_statistics", tmp_path)
    for name, value in call.environment.items():
        monkeypatch.setenv(name, value)
    return call


def test_a_question_is_dropped_when_the_region_moves_and_the_next_one_is_answered(held, measured, application):
    panel, roi, place = measured
    panel.ui.regionSelector.setCurrentNode(roi)
    first = asked(panel)
    place(10, 11, 9)
    assert standin.pump(lambda: panel.results.measurements._asker.processID not in (0, first))
    assert standin.pump(lambda: not alive(first) and len(leftovers(application)) == 1)
    held.let_go()
    wanted = estimate_of(panel)
    assert answered(panel)[1] == f"{wanted.value:.2f} (90 %: {wanted.low:.2f} to {wanted.high:.2f})"
    assert leftovers(application) == []


@pytest.mark.parametrize("end", ["scene closed", "module reloaded", "Slicer quits"])
@pytest.mark.parametrize("moment", ["resting", "writing", "computing"])
def test_whenever_the_scene_or_the_panel_goes_no_process_and_no_folder_is_left(
    held, measured, application, moment, end
):
    panel, roi, _place = measured
    panel.ui.regionSelector.setCurrentNode(roi)
    section = panel.results.measurements
    assert standin.pump(lambda: section._asker.busy)
    if moment == "writing":
        assert standin.pump(lambda: leftovers(application))
    pid = asked(panel) if moment == "computing" else 0
    if end == "scene closed":
        application.scene.Clear(0)
    elif end == "module reloaded":
        application.close_module("MAPDiff")
    else:
        application.quit()
    assert not section.busy and leftovers(application) == [] and not (pid and alive(pid))


def test_a_failure_is_a_short_word_in_the_row_and_below_it_what_to_do(measured, application, monkeypatch, tmp_path):
    panel, roi, _place = measured
    replace_worker(monkeypatch, tmp_path, 'echo "mapdiff: failed: MemoryError: no room" >&2; exit 1')
    panel.ui.regionSelector.setCurrentNode(roi)
    assert answered(panel)[1] == "not computed; see below"
    words = "There was no best estimate: failed: MemoryError: no room. Move the region, or choose another"
    assert panel.ui.numbersLabel.text == f"{words}, to try again." and leftovers(application) == []


def test_what_an_estimate_needs_is_said_in_its_row(measured, application):
    panel, roi, _place = measured
    panel.ui.regionSelector.setCurrentNode(roi)
    application.scene.RemoveNode(panel.results.result.doses[1.0])
    assert answered(panel)[1] == "needs the full dose: restore it too"
    application.scene.RemoveNode(panel._parameterNode.inputVolume)
    assert standin.pump(lambda: panel.results.result.inputNode is None)
    assert answered(panel)[1] == "needs the scan, which has gone"


def test_without_the_packages_of_the_worker_the_sentence_says_how_they_come(measured, application, monkeypatch):
    from MAPDiffPanelLib import install

    panel, roi, _place = measured
    monkeypatch.setattr(install, "missingPackages", lambda: ["torch>=2.2"])
    panel.ui.regionSelector.setCurrentNode(roi)
    assert answered(panel)[1] == "not computed; see below"
    assert panel.ui.numbersLabel.text == "This needs what Denoise installs at its first use: press it once."


def test_the_files_of_a_question_are_written_in_small_pieces(panel, application):
    from MAPDiffPanelLib import best_estimate
    from MAPDiffPanelLib.regions import Region
    from MAPDiffPanelLib.results import findResults
    from MAPDiffPanelLib.volumefile import PIECE_BYTES

    from Testing.slicer.panel import body_voxels, make_volume

    voxels = body_voxels()
    make_result(application.scene, make_volume(application.scene, voxels, "large"), doses=(1.0,))
    (result,) = findResults(application.scene)
    region = Region("box", (slice(9, 12), slice(9, 12), slice(9, 12)), np.ones((3, 3, 3), bool))
    asker = best_estimate.BestEstimate(lambda estimate, message: None)
    question = asker._question = best_estimate._Question(lambda *_: None)
    try:
        assert pieces_of(question.write(result, region)) >= 2 * voxels.nbytes / PIECE_BYTES
    finally:
        asker.stopNow()
        question.endAndWait()
    assert leftovers(application) == []
