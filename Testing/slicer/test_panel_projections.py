"""Maximum intensity projections in the comparison views: what they show, what they cost, and that nothing is left."""

from __future__ import annotations

import numpy as np

from Testing.slicer import standin
from Testing.slicer.panel import (
    backgrounds,
    body_voxels,
    corners,
    finished,
    make_result,
    make_volume,
    pieces_of,
    press,
    scan_voxels,
    slice_nodes,
)

pytest_plugins = ["Testing.slicer.fixtures"]


def projected_scan(application):
    """4 mm and oblong, with two hot spots, one far in front of the middle coronal slice and one far behind."""
    voxels = np.full((24, 22, 20), 0.1, np.float32)
    voxels[10:14, 2, 4:8], voxels[10:14, 17, 12:16] = 5, 8
    scan = make_volume(application.scene, voxels, "hot spots")
    scan.SetSpacing(4, 4, 6)
    scan.GetDisplayNode().SetAutoWindowLevel(False)
    scan.GetDisplayNode().SetWindowLevel(10, 5)
    return scan


def test_a_projection_shows_every_layer_follows_the_slider_and_goes_again(panel, application):
    make_result(application.scene, projected_scan(application), doses=(0.25, 1.0), factor=lambda dose: dose)
    panel.results.refresh()

    def greys(number):
        return set(np.unique(standin.slice_pixels(f"MAPDiff{number}")[..., 0]).tolist())

    press(panel, panel.ui.pairButton)
    assert max(greys(1)) < 5 and panel.ui.slicesButton.checked
    axial = standin.slice_pixels("MAPDiff3")
    press(panel, panel.ui.mipButton)
    assert {127, 204} <= greys(1), "5 and 8 of a window of 0 to 10"
    assert corners(1) == ["Input, 1/20 dose\nMIP"] and np.array_equal(standin.slice_pixels("MAPDiff3"), axial)
    panel.ui.doseSlider.value = 100
    assert shown(2) == "hot spots MAPDiff 1/4 dose MIP" and max(greys(2)) == 51
    panel.ui.doseSlider.value = 150
    assert 51 < max(greys(2)) < 204, "a mix of two"
    panel.ui.doseSlider.value = 200
    assert max(greys(2)) == 204
    slice_nodes()[1].SetSliceOffset(slice_nodes()[1].GetSliceOffset() + 20)
    assert {127, 204} <= greys(1), "the same from whichever slice"
    panel.ui.slicesButton.click()
    assert shown(1) == "hot spots" and corners(1) == ["Input, 1/20 dose"]
    press(panel, panel.ui.backButton)
    press(panel, panel.ui.mipButton)  # from the user's own layout: beside each other
    assert panel.ui.pairButton.checked and shown(2).endswith("MIP")


def shown(number):
    """The name of the volume in a comparison view."""
    import slicer

    return slicer.mrmlScene.GetNodeByID(*backgrounds(number)).GetName()


def projections():
    import slicer

    nodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    return {node.GetName(): node for node in nodes if node.GetName().endswith("MIP")}


def test_a_projection_is_the_maximum_across_the_view_exactly_on_the_scans_own_grid(panel, application):
    import slicer
    import vtk
    from MAPDiffPanelLib import projection
    from vtk.util import numpy_support

    scan = make_volume(application.scene, scan_voxels(), "flipped, as scanners give it")
    scan.SetSpacing(4.07, 4.07, 3.1)
    scan.SetOrigin(333.3, 250.1, -883.7)
    flipped = vtk.vtkMatrix4x4()
    flipped.SetElement(0, 0, -1)
    flipped.SetElement(1, 1, -1)
    scan.SetIJKToRASDirectionMatrix(flipped)
    image, spacing, origin = finished(projection.projected(scan))
    expected = slicer.util.arrayFromVolume(scan).max(axis=1)[:, ::-1]
    got = numpy_support.vtk_to_numpy(image.GetPointData().GetScalars()).reshape(24, 20)
    assert np.allclose(got, expected, rtol=1e-5) and image.GetDimensions() == (20, 1, 24)
    assert np.allclose(spacing, [4.07, 3 * 22 * 4.07, 3.1])
    assert np.allclose(origin, [333.3 - 19 * 4.07, 250.1 - 10.5 * 4.07, -883.7])


def test_a_projection_of_an_oblique_scan_under_a_transform_lies_where_the_scan_does(panel, application):
    import slicer
    from MAPDiffPanelLib import projection, regions
    from vtk.util import numpy_support

    scan = panel._parameterNode.inputVolume
    slicer.util.arrayFromVolume(scan)[:] = 0
    slicer.util.arrayFromVolume(scan)[14:17, 9:12, 6:9] = 5
    (centre,) = regions.worldOf(scan, np.array([[7, 10, 15]]))
    image, spacing, origin = finished(projection.projected(scan))
    x, _one, z = image.GetDimensions()
    got = numpy_support.vtk_to_numpy(image.GetPointData().GetScalars()).reshape(z, x)
    k, i = np.argwhere(got > 2.5).mean(axis=0)
    assert got.max() > 4.5
    assert np.hypot(origin[0] + i * spacing[0] - centre[0], origin[2] + k * spacing[2] - centre[2]) < 6
    assert pieces_of(projection.projected(make_volume(application.scene, body_voxels(), "large"))) >= 16


def test_projections_share_the_window_follow_the_voxels_are_nobodys_volumes_and_go_with_the_result(panel, application):
    import slicer
    from MAPDiffPanelLib.results import volumeNodes

    scan = projected_scan(application)
    nodes = make_result(application.scene, scan, doses=(0.25, 1.0), factor=lambda dose: dose)
    panel.results.refresh()
    press(panel, panel.ui.mipButton)
    made = projections()
    assert sorted(made) == ["hot spots MAPDiff 1/4 dose MIP", "hot spots MAPDiff full dose MIP", "hot spots MIP"]
    made["hot spots MIP"].GetDisplayNode().SetWindowLevel(4, 2)  # as dragged in its view
    everywhere = [*made.values(), *nodes.values(), scan]
    assert {node.GetDisplayNode().GetWindow() for node in everywhere} == {4}
    assert not set(made.values()) & set(volumeNodes(application.scene))
    assert not any(node.GetSaveWithScene() or node.GetDisplayNode().GetSaveWithScene() for node in made.values())
    slicer.util.arrayFromVolume(scan)[2, 3, 4] = 9
    slicer.util.arrayFromVolumeModified(scan)
    assert standin.pump(lambda: slicer.util.arrayFromVolume(projections()["hot spots MIP"]).max() == 9)
    for node in nodes.values():
        application.scene.RemoveNode(node)
    assert standin.pump(lambda: projections() == {})


def test_a_view_of_projections_costs_no_more_than_one_of_slices(panel, application):
    """What a picture goes through: one layer of voxels, not the volume."""
    make_result(application.scene, projected_scan(application), doses=(0.25, 1.0), factor=lambda dose: dose)
    panel.results.refresh()
    press(panel, panel.ui.mipButton)
    import slicer

    for number in (1, 2):
        logic = slicer.app.applicationLogic().GetSliceLogicByLayoutName(f"MAPDiff{number}")
        assert logic.GetBackgroundLayer().GetReslice().GetSlabNumberOfSlices() == 1
        assert logic.GetBackgroundLayer().GetVolumeNode().GetImageData().GetDimensions()[1] == 1
