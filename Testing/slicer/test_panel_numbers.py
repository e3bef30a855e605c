"""The numbers: against voxels counted by hand, in the default region, an ROI and a segment."""

from __future__ import annotations

import numpy as np
import pytest

from Testing.slicer import standin
from Testing.slicer.panel import make_result, make_volume

pytest_plugins = ["Testing.slicer.fixtures"]


def rows_of(panel):
    """The table as it is read, once it is whole."""
    assert standin.pump(lambda: panel.results.numbers.rows or panel.ui.numbersLabel.text, 30)
    table = panel.ui.numbersTable
    return [[table.item(row, column).text() for column in range(table.columnCount)] for row in range(table.rowCount)]


def test_the_table_has_a_row_per_dose_with_noise_uptake_activity_and_guard(panel, application):
    import slicer

    scan = panel._parameterNode.inputVolume
    make_result(application.scene, scan, factor=lambda dose: 1 + dose)
    panel.results.refresh()
    rows = rows_of(panel)
    head = [panel.ui.numbersTable.horizontalHeaderItem(column).text() for column in range(6)]
    assert head == ["dose", "noise %", "SUVmean", "SUVmax", "activity %", "guard %"]
    assert [row[0] for row in rows] == ["input 1/20", "1/10", "1/4", "1/2", "full"]
    assert [row[4] for row in rows] == ["100.0", "110.0", "125.0", "150.0", "200.0"]
    assert [row[5] for row in rows] == ["-", "-2.0", "-2.0", "-2.0", "-2.0"]
    region = panel.results.numbers._liverLike(scan)
    values = slicer.util.arrayFromVolume(scan)[region.slices][region.mask].astype(float)
    assert rows[0][1:4] == [f"{100 * values.std() / values.mean():.1f}", f"{values.mean():.2f}", f"{values.max():.2f}"]


def test_the_default_region_is_a_sphere_in_the_even_warm_part(panel):
    from MAPDiffPanelLib import regions

    random = np.random.default_rng(1)
    voxels = random.normal(0, 0.05, (60, 50, 50)).astype(np.float32)
    voxels[5:55, 10:40, 10:40] += 0.7
    voxels[10:25, 12:38, 12:38] += 1.3  # the liver
    voxels[40:48, 20:30, 20:30] += 25  # the bladder
    region = regions.liverLike(voxels, (4.0, 4.0, 4.0))
    values = region.values(voxels)
    assert 1.8 < values.mean() < 2.2 and values.std() < 0.2
    assert abs(region.mask.sum() * 64 / (4 / 3 * np.pi * 15**3) - 1) < 0.1


def test_a_region_without_anything_warm_is_a_sentence_not_an_error(panel, application):
    from MAPDiffPanelLib import regions

    with pytest.raises(regions.RegionError, match="Draw an ROI"):
        regions.liverLike(np.zeros((20, 20, 20), np.float32), (4.0, 4.0, 4.0))


def test_an_roi_counts_the_voxels_whose_centres_it_holds(panel, application):
    import slicer
    from MAPDiffPanelLib import regions

    scan = panel._parameterNode.inputVolume
    roi = application.scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "lesion")
    toWorld = regions.voxelToWorld(scan)
    centre = toWorld @ [9, 10, 12, 1]
    roi.SetCenter(*centre[:3])
    roi.SetSize(40, 50, 60)
    region = regions.insideRoi(roi, scan)
    k, j, i = np.mgrid[:24, :22, :20]
    world = np.stack([i, j, k, np.ones_like(i)], -1) @ toWorld.T
    byHand = (np.abs(world[..., :3] - centre[:3]) <= [20, 25, 30]).all(-1)
    mask = np.zeros((24, 22, 20), bool)
    mask[region.slices] = region.mask
    assert byHand.sum() > 50 and np.array_equal(mask, byHand)

    make_result(application.scene, scan)
    panel.results.refresh()
    panel.ui.regionSelector.setCurrentNode(roi)
    rows = rows_of(panel)
    assert rows[0][3] == f"{slicer.util.arrayFromVolume(scan)[byHand].max():.2f}"
    assert panel._parameterNode.region is roi
    roi.SetCenter(1000, 1000, 1000)
    panel.ui.measureButton.click()
    assert standin.pump(lambda: "outside this volume" in panel.ui.numbersLabel.text, 10)
    assert panel.ui.numbersTable.rowCount == 0 and not panel.ui.copyButton.enabled


def test_a_segment_is_measured_where_slicer_puts_it(panel, application, monkeypatch):
    import slicer
    from MAPDiffPanelLib import regions

    scan = panel._parameterNode.inputVolume
    segmentation = application.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "organs")
    first = segmentation.GetSegmentation().AddEmptySegment("a", "spleen")
    second = segmentation.GetSegmentation().AddEmptySegment("b", "lesion")
    labelmap = np.zeros((24, 22, 20), np.uint8)
    labelmap[5:8, 6:9, 7:10] = 1
    # Resampling is Slicer's own; what is asked of it and what is done with it is the panel's.
    asked = []

    def resampled(node, segmentID, reference):
        asked.append((node, segmentID, reference))
        return labelmap if segmentID == second else np.zeros_like(labelmap)

    monkeypatch.setattr(slicer.util, "arrayFromSegmentBinaryLabelmap", resampled)
    region = regions.insideSegment(segmentation, second, scan)
    assert region.slices == (slice(5, 8), slice(6, 9), slice(7, 10)) and region.mask.all() and region.name == "lesion"
    make_result(application.scene, scan)
    panel.results.refresh()
    panel.ui.regionSelector.setCurrentNode(segmentation)
    assert panel.ui.segmentSelector.count == 2 and panel.ui.segmentSelector.currentText == "spleen"
    assert standin.pump(lambda: "spleen is empty" in panel.ui.numbersLabel.text, 10)
    panel.ui.segmentSelector.setCurrentIndex(1)
    rows = rows_of(panel)
    assert rows[0][2] == f"{slicer.util.arrayFromVolume(scan)[5:8, 6:9, 7:10].mean():.2f}"
    assert panel._parameterNode.segment == second and first != second
    assert asked[-1][2] is scan


def test_the_numbers_go_to_the_clipboard_and_into_a_table_node(panel, application):
    import qt

    make_result(application.scene, panel._parameterNode.inputVolume)
    panel.results.refresh()
    rows = rows_of(panel)
    panel.ui.copyButton.click()
    lines = qt.QApplication.clipboard().text().splitlines()
    assert lines[0].split("\t")[:2] == ["dose", "noise %"]
    assert [line.split("\t") for line in lines[1:]] == rows
    panel.ui.tableButton.click()
    node = application.scene.GetFirstNodeByClass("vtkMRMLTableNode")
    assert node.GetName() == "PET MAPDiff numbers" and node.GetTable().GetNumberOfRows() == 5
    assert node.GetTable().GetColumnByName("SUVmax").GetValue(0) == panel.results.numbers.rows[0][3]


def test_a_scan_in_other_units_has_no_suv_in_its_table(panel, application):
    from Testing.slicer.panel import scan_voxels

    make_result(application.scene, make_volume(application.scene, scan_voxels(), "counts"))
    panel.results.refresh()
    rows_of(panel)
    assert panel.ui.numbersTable.horizontalHeaderItem(2).text() == "mean"


def test_numbers_are_found_in_small_steps(panel, application):
    voxels = np.random.default_rng(0).gamma(2, 1, (256, 128, 128)).astype(np.float32)
    make_result(application.scene, make_volume(application.scene, voxels, "large"), doses=(0.1, 1.0))
    panel.results.numbers.steps.longestTurn = 0
    panel.results.refresh()
    rows_of(panel)
    assert panel.results.numbers.steps.longestTurn < 0.05
