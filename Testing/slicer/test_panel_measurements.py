"""The numbers: against voxels counted by hand, in the default region, an ROI and a segment."""

from __future__ import annotations

import numpy as np
import pytest

from Testing.slicer import standin
from Testing.slicer.panel import body_voxels, finished, make_result, make_volume, pieces_of

pytest_plugins = ["Testing.slicer.fixtures"]


def voxel_to_world(node, i, j, k):
    """World RAS [..., 3] of voxels, by the matrices of the node and of its linear transform, if it has one."""
    import slicer
    import vtk

    matrix, to_world = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    if node.GetParentTransformNode() is not None:
        node.GetParentTransformNode().GetMatrixTransformToWorld(to_world)
    whole = slicer.util.arrayFromVTKMatrix(to_world) @ slicer.util.arrayFromVTKMatrix(matrix)
    return (np.stack([i, j, k, np.ones_like(i)], -1) @ whole.T)[..., :3]


def rows_of(panel):
    """The doses in the table as they are read, once it is whole; the last row is that of the best estimate."""
    assert standin.pump(lambda: panel.results.measurements.rows or panel.ui.numbersLabel.text)
    table, doses = panel.ui.numbersTable, range(max(0, panel.ui.numbersTable.rowCount - 1))
    return [[table.item(row, column).text() for column in range(table.columnCount)] for row in doses]


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
    region = finished(panel.results.measurements._liverLike(scan))
    values = slicer.util.arrayFromVolume(scan)[region.slices][region.mask].astype(float)
    assert rows[0][1:4] == [f"{100 * values.std() / values.mean():.1f}", f"{values.mean():.2f}", f"{values.max():.2f}"]


def test_the_default_region_is_a_sphere_in_the_even_warm_part(panel):
    from MAPDiffPanelLib import regions

    random = np.random.default_rng(1)
    voxels = random.normal(0, 0.05, (60, 50, 50)).astype(np.float32)
    voxels[5:55, 10:40, 10:40] += 0.7
    voxels[10:25, 12:38, 12:38] += 1.3  # the liver
    voxels[40:48, 20:30, 20:30] += 25  # the bladder
    region = finished(regions.liverLike(voxels, (4.0, 4.0, 4.0)))
    values = region.values(voxels)
    assert 1.8 < values.mean() < 2.2 and values.std() < 0.2
    assert abs(region.mask.sum() * 64 / (4 / 3 * np.pi * 15**3) - 1) < 0.1


def test_a_region_without_anything_warm_is_a_sentence_not_an_error(panel, application):
    from MAPDiffPanelLib import regions

    with pytest.raises(regions.RegionError, match="Draw an ROI"):
        finished(regions.liverLike(np.zeros((20, 20, 20), np.float32), (4.0, 4.0, 4.0)))


def test_an_roi_counts_the_voxels_whose_centres_it_holds(panel, application):
    import slicer
    from MAPDiffPanelLib import regions

    scan = panel._parameterNode.inputVolume
    roi = application.scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "lesion")
    (centre,) = regions.worldOf(scan, np.array([[9, 10, 12]]))
    roi.SetCenter(*centre)
    roi.SetSize(40, 50, 60)
    region = finished(regions.insideRoi(roi, scan))
    k, j, i = np.mgrid[:24, :22, :20]
    world = voxel_to_world(scan, i, j, k)
    byHand = (np.abs(world - centre) <= [20, 25, 30]).all(-1)
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
    assert standin.pump(lambda: "outside this volume" in panel.ui.numbersLabel.text)
    assert panel.ui.numbersTable.rowCount == 0 and not panel.ui.copyButton.enabled


def make_segmentation(scene, boxes):
    """A segmentation on a grid of its own (2 mm, shifted, not oblique, no transform): {name: world box in RAS mm}."""
    import slicer

    grid = make_volume(scene, np.zeros((130, 130, 130), np.float32), "grid of the segmentation")
    grid.SetSpacing(2, 2, 2)
    grid.SetOrigin(-130.5, -130.5, -60.5)
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "organs")
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(grid)
    k, j, i = np.mgrid[:130, :130, :130]
    world = np.stack([2 * i - 130.5, 2 * j - 130.5, 2 * k - 60.5])
    for name, (centre, half) in boxes.items():
        inside = (np.abs(world - np.reshape(centre, (3, 1, 1, 1))) <= half).all(0).astype(np.uint8)
        segmentID = segmentation.GetSegmentation().AddEmptySegment(name, name)
        if inside.any():
            slicer.util.updateSegmentBinaryLabelmapFromArray(inside, segmentation, segmentID, grid)
    return segmentation


def test_a_segment_of_other_geometry_is_measured_where_it_lies_in_space(panel, application):
    """The scan is oblique and under a transform, the segmentation is neither; Slicer itself resamples."""
    import slicer
    from MAPDiffPanelLib import regions

    scan = panel._parameterNode.inputVolume
    centre = voxel_to_world(scan, 9, 10, 12)
    segmentation = make_segmentation(application.scene, {"spleen": ([900, 0, 0], 1), "lesion": (centre, 31.0)})
    region = finished(regions.insideSegment(segmentation, "lesion", scan))
    mask = np.zeros((24, 22, 20), bool)
    mask[region.slices] = region.mask
    k, j, i = np.mgrid[:24, :22, :20]
    distance = np.abs(voxel_to_world(scan, i, j, k) - centre).max(-1)
    assert region.name == "lesion" and mask[distance < 29].all() and not mask[distance > 33].any()
    assert mask.sum() > 300

    make_result(application.scene, scan)
    panel.results.refresh()
    panel.ui.regionSelector.setCurrentNode(segmentation)
    assert panel.ui.segmentSelector.count == 2 and panel.ui.segmentSelector.currentText == "spleen"
    assert standin.pump(lambda: "spleen is empty" in panel.ui.numbersLabel.text)
    panel.ui.segmentSelector.setCurrentIndex(1)
    rows = rows_of(panel)
    values = slicer.util.arrayFromVolume(scan)[mask]
    assert rows[0][2:4] == [f"{values.mean():.2f}", f"{values.max():.2f}"]
    assert panel._parameterNode.segment == "lesion"
    assert not panel.results.measurements.tasks.busy, "what measuring adds to the scene must not start it anew"


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
    assert node.GetTable().GetColumnByName("SUVmax").GetValue(0) == panel.results.measurements.rows[0][3]


def test_a_scan_in_other_units_has_no_suv_in_its_table(panel, application):
    from Testing.slicer.panel import scan_voxels

    make_result(application.scene, make_volume(application.scene, scan_voxels(), "counts"))
    panel.results.refresh()
    rows_of(panel)
    assert panel.ui.numbersTable.horizontalHeaderItem(2).text() == "mean"


def test_numbers_are_found_in_small_pieces(panel, application):
    """No piece goes through more than an eighth of a volume, in whatever region."""
    from MAPDiffPanelLib import measurements, regions

    scan = make_volume(application.scene, body_voxels(), "large")
    make_result(application.scene, scan, doses=(0.1, 1.0))
    panel.results.refresh()
    section, rows = panel.results.measurements, []
    layers = 256 // 16  # of 16 mm blocks, of voxels of 1 mm
    each = 2 * measurements.PARTS  # of three volumes: their parts, and the region's
    assert pieces_of(regions.liverLike(body_voxels(), scan.GetSpacing())) == layers
    region = finished(section._region())
    assert pieces_of(measurements.measure(panel.results.result, region, rows)) == 3 * each
    assert len(rows) == 3
    roi = application.scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "all")
    roi.SetSize(1000, 1000, 1000)
    assert pieces_of(regions.insideRoi(roi, scan)) > 256, "a layer at a time"
    voxels = body_voxels().astype(np.float64)
    whole = regions.Region("all", tuple(map(slice, (0, 0, 0), voxels.shape)), np.ones(voxels.shape, bool))
    assert pieces_of(measurements.measure(panel.results.result, whole, rows)) == 3 * each
    assert rows[3][1:4] == pytest.approx([100 * voxels.std() / voxels.mean(), voxels.mean(), voxels.max()])


def highest(panel, row=0):
    """SUVmax of a row, 0 while there is none."""
    rows = panel.results.measurements.rows
    return rows[row][3] if len(rows) > row else 0


def test_the_numbers_follow_an_roi_that_is_moved(panel, application):
    import slicer

    scan = make_volume(application.scene, np.ones((24, 22, 20), np.float32), "even with a spot")
    scan.SetSpacing(8, 8, 8)
    slicer.util.arrayFromVolume(scan)[12, 11, 10] = 7
    slicer.util.arrayFromVolumeModified(scan)
    make_result(application.scene, scan, doses=(1.0,), factor=lambda dose: 1)
    roi = application.scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "lesion")
    roi.SetSize(20, 20, 20)
    roi.SetCenter(20, 20, 20)
    panel.results.refresh()
    panel.ui.regionSelector.setCurrentNode(roi)
    assert standin.pump(lambda: highest(panel) == 1)
    roi.SetCenter(*voxel_to_world(scan, 10, 11, 12))
    assert standin.pump(lambda: highest(panel) == 7)
    slicer.util.arrayFromVolume(scan)[12, 11, 10] = 9
    slicer.util.arrayFromVolumeModified(scan)
    assert standin.pump(lambda: highest(panel) == 9)


def test_the_numbers_follow_a_segment_that_is_drawn_and_the_list_a_new_one(panel, application):
    import slicer

    scan = make_volume(application.scene, np.ones((24, 22, 20), np.float32), "even with a spot")
    scan.SetSpacing(8, 8, 8)
    slicer.util.arrayFromVolume(scan)[12, 11, 10] = 7
    make_result(application.scene, scan, doses=(1.0,), factor=lambda dose: 1)
    segmentation = make_segmentation(application.scene, {"lesion": ([20, 20, 20], 15.0)})
    panel.results.refresh()
    panel.ui.regionSelector.setCurrentNode(segmentation)
    assert standin.pump(lambda: highest(panel) == 1)
    inside = np.zeros((24, 22, 20), np.uint8)
    inside[11:14, 10:13, 9:12] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(inside, segmentation, "lesion", scan)
    assert standin.pump(lambda: highest(panel) == 7)
    segmentation.GetSegmentation().AddEmptySegment("node", "node")
    assert standin.pump(lambda: panel.ui.segmentSelector.count == 2)
    assert panel.ui.segmentSelector.currentText == "lesion"


def test_the_row_of_the_sliders_dose_is_marked(panel, application):
    make_result(application.scene, panel._parameterNode.inputVolume)
    panel.results.refresh()
    rows_of(panel)
    panel.ui.doseSlider.value = 310
    assert panel.ui.numbersTable.currentRow() == 3


def test_copy_and_table_node_give_a_sign(panel, application):
    make_result(application.scene, panel._parameterNode.inputVolume)
    panel.results.refresh()
    rows_of(panel)
    panel.ui.copyButton.click()
    assert panel.ui.numbersLabel.text == "Copied, for a spreadsheet."
    panel.ui.tableButton.click()
    assert panel.ui.numbersLabel.text == "Added to the scene as PET MAPDiff numbers."


def bent(scene, node, displacement_mm):
    """Puts a volume under a grid transform, as Slicer does with an irregular DICOM series: every voxel moves so far."""
    import slicer
    import vtk
    from vtk.util import numpy_support

    grid = vtk.vtkImageData()
    grid.SetDimensions(2, 2, 2)
    grid.SetOrigin(-500, -500, -500)
    grid.SetSpacing(1000, 1000, 1000)
    grid.AllocateScalars(vtk.VTK_DOUBLE, 3)
    numpy_support.vtk_to_numpy(grid.GetPointData().GetScalars())[:] = displacement_mm
    transform = slicer.vtkOrientedGridTransform()
    transform.SetDisplacementGridData(grid)
    transform.SetInterpolationModeToCubic()
    parent = scene.AddNewNodeByClass("vtkMRMLGridTransformNode", "acquisition")
    parent.SetAndObserveTransformToParent(transform)
    node.SetAndObserveTransformNodeID(parent.GetID())


def spot(scene):
    """[24, 22, 20] voxels of 8 mm, one of them hot (7) at i 10, j 11, k 12; all 40 mm higher than that by a bend."""
    voxels = np.zeros((24, 22, 20), np.float32)
    voxels[12, 11, 10] = 7
    node = make_volume(scene, voxels, "irregular")
    node.SetSpacing(8, 8, 8)
    bent(scene, node, (0, 0, 40))
    return node


def test_an_roi_over_a_bent_volume_holds_what_lies_there_in_space(panel, application):
    import slicer
    from MAPDiffPanelLib import regions

    node = spot(application.scene)
    roi = application.scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "lesion")
    roi.SetSize(20, 20, 20)
    roi.SetCenter(80, 88, 96 + 40)
    voxels = slicer.util.arrayFromVolume(node)
    assert finished(regions.insideRoi(roi, node)).values(voxels).max() == 7
    roi.SetCenter(80, 88, 96)  # where the voxel would lie if nothing were bent
    assert finished(regions.insideRoi(roi, node)).values(voxels).max() == 0


def test_a_segment_over_a_bent_volume_holds_what_lies_there_in_space(panel, application):
    import slicer
    from MAPDiffPanelLib import regions

    node = spot(application.scene)
    segmentation = make_segmentation(application.scene, {"there": ([80, 88, 136], 12.0), "below": ([80, 88, 96], 12.0)})
    voxels = slicer.util.arrayFromVolume(node)
    assert finished(regions.insideSegment(segmentation, "there", node)).values(voxels).max() == 7
    assert finished(regions.insideSegment(segmentation, "below", node)).values(voxels).max() == 0


def test_an_roi_that_is_bent_itself_is_refused_with_a_sentence(panel, application):
    from MAPDiffPanelLib import regions

    roi = application.scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "lesion")
    bent(application.scene, roi, (0, 0, 40))
    with pytest.raises(regions.RegionError, match="lesion is under a non-linear transform.*Harden"):
        finished(regions.insideRoi(roi, panel._parameterNode.inputVolume))
