"""The comparison views as a reader meets them: pair, grid, difference, projection, flicker, and the way back."""

from __future__ import annotations

import numpy as np
import pytest

from Testing.slicer import standin
from Testing.slicer.panel import (
    backgrounds,
    composites,
    corners,
    make_compared,
    make_result,
    make_volume,
    press,
    scan_voxels,
    slice_nodes,
    window_in_front,
)

pytest_plugins = ["Testing.slicer.fixtures"]


@pytest.fixture
def compared(panel, application):
    """The panel with a finished result, its scan, its doses."""
    return make_compared(panel, application)


def labels(*numbers):
    return [slice_nodes()[number].GetLayoutLabel() for number in numbers]


def places(application, *numbers):
    """Left, top, width and height of views in the main window."""
    widgets = [application.layout_manager.sliceWidget(f"MAPDiff{number}") for number in numbers]
    return [(widget.x, widget.y, widget.width, widget.height) for widget in widgets]


def test_input_and_restored_side_by_side_linked_with_one_window_and_back_again(compared, application):
    panel, scan, nodes = compared
    layout = application.layout_manager
    assert layout.layout == 0  # that of a fresh Slicer, which is one to come back to
    panel.ui.doseSlider.value = 200
    press(panel, panel.ui.pairButton)
    assert layout.layout == 5270 and panel.ui.pairButton.checked and not panel.ui.oneButton.checked
    assert backgrounds(1, 3) == [scan.GetID()] * 2 and backgrounds(2, 4) == [nodes[0.25].GetID()] * 2
    assert all(composites()[f"MAPDiff{n}"].GetLinkedControl() for n in (1, 2, 3, 4))
    assert labels(1, 2, 3, 4) == ["input", "1/4"] * 2
    assert corners(1, 2) == ["Input, 1/20 dose", "Restored, 1/4 dose"]
    assert slice_nodes()[1].GetLayoutColor() != slice_nodes()[2].GetLayoutColor()
    panel.ui.doseSlider.value = 250
    assert [composites()[f"MAPDiff{n}"].GetForegroundOpacity() for n in (1, 2)] == [0, 0.5]
    assert labels(2) == ["1/3"] and corners(2) == ["Restored, 1/3 dose\nbetween 1/4 and 1/2"]
    nodes[0.5].GetDisplayNode().SetWindowLevel(4, 2)
    assert {node.GetDisplayNode().GetWindow() for node in (scan, *nodes.values())} == {4}
    panel.ui.backButton.click()
    assert layout.layout == 0 and not panel.ui.backButton.enabled and panel._parameterNode.formerLayout == -1
    assert composites()["Red"].GetBackgroundVolumeID() == scan.GetID()
    assert composites()["Red"].GetForegroundVolumeID() is None


def test_all_doses_in_rows_of_three_each_in_its_own_labelled_view(compared, application):
    panel, scan, nodes = compared
    press(panel, panel.ui.pairButton)  # whose views the grid shares
    press(panel, panel.ui.gridButton)
    assert application.layout_manager.layout == 5275
    assert backgrounds(1, 2, 3, 4, 5) == [scan.GetID(), *(node.GetID() for node in nodes.values())]
    assert labels(1, 2, 3, 4, 5) == ["input", "1/10", "1/4", "1/2", "full"]
    assert corners(1, 5) == ["Input, 1/20 dose", "Restored, full dose"]
    assert {slice_nodes()[n].GetOrientation() for n in range(1, 6)} == {"Coronal"}
    left, top, width, height = np.array(places(application, 1, 2, 3, 4, 5)).T
    assert list(left[3:]) == list(left[:2]) and len(set(top[:3])) == 1 and len(set(top[3:])) == 1
    assert np.ptp(width) <= 1 and np.ptp(height) <= 1


def test_labels_have_room_in_a_bar_and_more_doses_than_views_keep_the_scan(panel, application):
    doses = (0.0625, 0.1, 0.123, 0.15, 0.2, 0.25, 0.3, 0.333, 0.5, 0.9, 1.0)
    make_result(application.scene, panel._parameterNode.inputVolume, doses)
    panel.results.refresh()
    press(panel, panel.ui.gridButton)
    assert labels(*range(1, 10)) == ["input", "0.15", "1/5", "1/4", "0.3", "1/3", "1/2", "0.9", "full"]
    for value in range(0, 1101, 13):
        panel.ui.doseSlider.value = value
        assert len(panel.results.mix().label) <= 6


@pytest.mark.parametrize("size", [(1280, 800), (1600, 1000)])
def test_no_view_makes_the_window_grow_and_scrubbing_moves_nothing(compared, application, size):
    panel, _scan, _nodes = compared
    application.main_window.resize(*size)
    standin.turns()
    for button, count in ((panel.ui.gridButton, 5), (panel.ui.pairButton, 4), (panel.ui.differenceButton, 6)):
        press(panel, button)
        before = places(application, *range(1, count + 1))
        assert len({place[2] for place in before}) <= 2 and np.ptp([place[2] for place in before]) <= 1
        for value in (0, 130, 250, 400):
            panel.ui.doseSlider.value = value
            standin.turns()
            assert places(application, *range(1, count + 1)) == before
        assert (application.main_window.width, application.main_window.height) == size


def fitted(application, number):
    """Whether a further fit would change a view."""
    node = slice_nodes()[number]
    before = (*node.GetFieldOfView(), node.GetSliceOffset())
    application.layout_manager.sliceWidget(f"MAPDiff{number}").fitSliceToBackground()
    return np.allclose(before, (*node.GetFieldOfView(), node.GetSliceOffset()), rtol=1e-3)


def whole_body(application):
    """A scan in the table's coordinates, far from 0, as a scanner gives it."""
    scan = make_volume(application.scene, scan_voxels(), "PET far down")
    scan.SetSpacing(20, 20, 36)
    scan.SetOrigin(-200, -220, -883)
    return scan


def test_a_scan_far_from_the_origin_fills_its_views_when_its_first_dose_arrives(panel, application):
    make_result(application.scene, whole_body(application), doses=(0.25,))
    panel.results.doseArrived("one", 0.25)
    assert standin.pump(lambda: not panel.results.views.busy)
    offsets = [slice_nodes()[number].GetSliceOffset() for number in (1, 2, 3, 4)]
    assert offsets[2] == offsets[3] and abs(offsets[2] + 883 - 18 * 23) <= 36 and abs(offsets[0]) <= 20
    for number in (1, 2, 3, 4):
        assert fitted(application, number) and standin.slice_pixels(f"MAPDiff{number}")[..., :3].any(), number


def test_images_fit_from_grid_to_pair_and_the_slice_that_was_looked_at_stays(compared, application):
    panel, _scan, _nodes = compared
    press(panel, panel.ui.gridButton)
    for node in slice_nodes().values():  # which are linked
        node.SetSliceOffset(-20.0)
    press(panel, panel.ui.pairButton)
    assert [slice_nodes()[number].GetSliceOffset() for number in (1, 2)] == [-20.0, -20.0]
    field = slice_nodes()[1].GetFieldOfView()[:2]
    application.layout_manager.sliceWidget("MAPDiff1").fitSliceToBackground()
    assert np.allclose(field, slice_nodes()[1].GetFieldOfView()[:2], rtol=0.01)


def test_views_are_made_one_at_a_time(panel, application):
    import slicer
    import vtk

    made = []

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def added(_scene, _event, node):
        if node.IsA("vtkMRMLSliceNode"):
            made.append((len(application.slot_times), node.GetLayoutName()))

    application.scene.AddObserver(slicer.vtkMRMLScene.NodeAddedEvent, added)
    make_result(application.scene, panel._parameterNode.inputVolume)
    panel.results.refresh()
    press(panel, panel.ui.gridButton)
    assert [name for _slot, name in made] == [f"MAPDiff{number}" for number in range(1, 6)]
    assert len({slot for slot, _name in made}) == 5, "two views in one go"


def test_a_layout_taken_from_the_toolbar_is_the_users_own_and_the_buttons_follow(compared, application):
    import slicer

    panel, scan, _nodes = compared
    press(panel, panel.ui.pairButton)
    four_up = slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
    application.layout_manager.setLayout(four_up)
    assert panel.ui.oneButton.checked and not panel.ui.pairButton.checked
    press(panel, panel.ui.pairButton)
    assert application.layout_manager.layout == 5270 and panel._parameterNode.formerLayout == four_up
    panel.ui.backButton.click()
    assert application.layout_manager.layout == four_up
    assert composites()["Red"].GetBackgroundVolumeID() == scan.GetID()


def test_closing_the_scene_leaves_no_word_of_the_result(compared, application):
    panel, _scan, _nodes = compared
    press(panel, panel.ui.mipButton)
    panel.run.say("Done: 4 doses.")
    panel.ui.progressBar.value = 1000
    application.scene.Clear(0)
    assert application.layout_manager.layout == 0
    assert labels(1, 2, 3, 4) == ["1", "2", "3", "4"] and corners(1, 2, 3, 4) == [""] * 4
    ui = panel.ui
    buttons = (ui.oneButton, ui.pairButton, ui.gridButton, ui.differenceButton, ui.slicesButton, ui.mipButton)
    assert not any(button.checked or button.enabled for button in buttons)
    assert not ui.backButton.enabled and not ui.flickerButton.enabled
    assert ui.statusLabel.text.strip() == "" and ui.progressBar.value == 0 and ui.doseLabel.text == ""


@pytest.mark.parametrize("elsewhere", [False, True], ids=["panel open", "other module open"])
def test_quitting_with_a_comparison_saves_the_users_own_layout(compared, application, elsewhere):
    import slicer

    panel, _scan, _nodes = compared
    application.layout_manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    press(panel, panel.ui.pairButton)
    if elsewhere:
        panel.exit()
    application.quit()
    assert int(slicer.app.userSettings().value("MainWindow/layout")) == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView


def test_a_scene_loaded_into_this_one_does_not_leave_the_pair_empty(compared, application, tmp_path):
    import slicer

    panel, scan, _nodes = compared
    press(panel, panel.ui.pairButton)
    saved = slicer.vtkMRMLScene()
    saved.AddNode(slicer.vtkMRMLTextNode())
    saved.Commit(str(tmp_path / "other.mrml"))
    application.scene.SetURL(str(tmp_path / "other.mrml"))
    application.scene.Import()
    assert standin.pump(lambda: not panel.results.views.busy)
    assert backgrounds(1, 3) == [scan.GetID()] * 2 and None not in backgrounds(2, 4)


def test_the_difference_is_made_on_demand_in_the_scans_units_and_symmetric_colours(compared, application):
    import slicer

    panel, scan, nodes = compared
    assert panel.results.result.differences == {}
    panel.ui.doseSlider.value = 200
    press(panel, panel.ui.differenceButton)
    made = panel.results.result.differences
    assert list(made) == [0.25] and application.layout_manager.layout == 5290
    node = made[0.25]
    expected = slicer.util.arrayFromVolume(scan) - slicer.util.arrayFromVolume(nodes[0.25])
    assert np.allclose(slicer.util.arrayFromVolume(node), expected)
    assert node.GetVoxelValueUnits().GetCodeValue() == "{SUVbw}g/ml" and node.GetSpacing() == scan.GetSpacing()
    display = node.GetDisplayNode()
    assert display.GetLevel() == 0 and display.GetWindow() == scan.GetDisplayNode().GetWindow() > 0
    table = display.GetColorNode().GetLookupTable()
    low, zero, high = (np.round(table.GetTableValue(index)[:3], 2).tolist() for index in (0, 127, 254))
    assert (low, zero, high) == ([0, 0, 1], [1, 1, 1], [1, 0, 0])
    assert backgrounds(3, 6) == [node.GetID()] * 2 and fitted(application, 3) and fitted(application, 6)
    assert corners(3) == ["Input minus 1/4 dose\nred: taken away, blue: added"]
    panel.ui.doseSlider.value = 400
    assert standin.pump(lambda: 1.0 in made) and backgrounds(3) == [made[1.0].GetID()]
    scan.GetDisplayNode().SetWindowLevel(8, 4)
    assert {each.GetDisplayNode().GetWindow() for each in made.values()} == {8}
    panel.results.refresh()
    assert panel.results.result.labels() == ["input 1/20", "1/10", "1/4", "1/2", "full"], "a difference is no dose"


def test_a_difference_is_shown_also_when_the_results_are_looked_for_anew_as_it_comes(compared, application):
    """Its own node is news of the scene, and so may others be."""
    import slicer
    import vtk

    panel, _scan, _nodes = compared
    press(panel, panel.ui.differenceButton)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def added(_scene, _event, node):
        if node.GetAttribute("MAPDiff.Kind") == "difference":
            panel.results.refresh()

    application.scene.AddObserver(slicer.vtkMRMLScene.NodeAddedEvent, added)
    panel.ui.doseSlider.value = 400
    assert standin.pump(lambda: 1.0 in panel.results.result.differences and not panel.results.tasks.busy)
    assert backgrounds(3, 6) == [panel.results.result.differences[1.0].GetID()] * 2
    assert corners(3) == ["Input minus full dose\nred: taken away, blue: added"]


def test_what_changes_while_the_views_wait_for_their_sizes_is_shown(compared, application):
    import qt
    import slicer
    import vtk

    panel, _scan, nodes = compared
    panel.ui.doseSlider.value = 100
    moved, layout = [], slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")

    def move():
        moved.append(panel.results.views.busy)
        panel.ui.doseSlider.value = 400

    layout.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: moved or qt.QTimer.singleShot(0, move))
    press(panel, panel.ui.pairButton)
    assert moved[0] and backgrounds(2, 4) == [nodes[1.0].GetID()] * 2 and labels(2) == ["full"]


def test_held_down_the_button_shows_input_and_restored_in_turn_in_all_views(compared):
    panel, scan, nodes = compared
    panel.ui.doseSlider.value = 400
    press(panel, panel.ui.pairButton)
    given, restored = [scan.GetID()] * 4, [nodes[1.0].GetID()] * 4
    own = [scan.GetID(), nodes[1.0].GetID()] * 2
    panel.ui.flickerButton.setDown(True)
    panel.ui.flickerButton.pressed()
    assert backgrounds(1, 2, 3, 4) == given and labels(1, 2) == ["input", "input"]
    assert standin.pump(lambda: backgrounds(1, 2, 3, 4) == restored) and labels(1, 2) == ["full", "full"]
    assert standin.pump(lambda: backgrounds(1, 2, 3, 4) == given)
    panel.ui.flickerButton.released()
    assert backgrounds(1, 2, 3, 4) == own and labels(1, 2) == ["input", "full"]


def test_held_down_the_key_does_the_same_until_it_is_let_go(compared):
    from PySide6 import QtCore, QtTest

    panel, scan, nodes = compared
    panel.ui.doseSlider.value = 400
    window, key = window_in_front(), QtCore.Qt.Key.Key_Backslash
    QtTest.QTest.keyPress(window, key)
    assert composites()["Red"].GetBackgroundVolumeID() == scan.GetID()
    assert standin.pump(lambda: composites()["Red"].GetBackgroundVolumeID() == nodes[1.0].GetID())
    assert standin.pump(lambda: composites()["Red"].GetBackgroundVolumeID() == scan.GetID())
    QtTest.QTest.keyRelease(window, key)
    assert standin.pump(lambda: composites()["Red"].GetBackgroundVolumeID() == nodes[1.0].GetID())
    assert panel.results.flicker._filter is None
