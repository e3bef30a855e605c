"""The dose slider on real slice pictures, the comparison views, one look for all, and the way back."""

from __future__ import annotations

import numpy as np
import pytest

from Testing.slicer import standin
from Testing.slicer.panel import make_compared, make_result, make_scan, result_nodes, window_in_front

pytest_plugins = ["Testing.slicer.fixtures"]


@pytest.fixture
def compared(panel, application):
    """The panel with a finished result, its scan, its doses."""
    return make_compared(panel, application)


def picture_of(node, name="Red"):
    """The slice picture of one volume alone."""
    import slicer

    composite = slicer.app.layoutManager().sliceWidget(name).sliceLogic().GetSliceCompositeNode()
    composite.SetForegroundVolumeID(None)
    composite.SetBackgroundVolumeID(node.GetID())
    return standin.slice_pixels(name)


def test_at_each_dose_the_picture_is_that_volume_and_midway_it_is_the_mix(compared):
    panel, scan, nodes = compared
    stops = [scan, *nodes.values()]
    alone = [picture_of(node) for node in stops]
    assert all(np.any(a != b) for a, b in zip(alone, alone[1:], strict=False)), "the volumes must differ"
    for index, expected in enumerate(alone):
        panel.ui.doseSlider.value = -1 if index == 0 else 100 * index - 50  # come from elsewhere
        panel.ui.doseSlider.value = 100 * index
        panel.results.views.follow(panel.results.mix())
        assert np.array_equal(standin.slice_pixels(), expected)
    for index in range(len(stops) - 1):
        panel.ui.doseSlider.value = 100 * index + 50
        mix = (alone[index].astype(float) + alone[index + 1]) / 2
        assert np.abs(standin.slice_pixels() - mix)[..., :3].max() <= 1


def test_the_slider_says_the_dose_and_mixes_linearly_in_one_over_dose(compared):
    import slicer

    panel, _scan, nodes = compared
    composite = slicer.app.layoutManager().sliceWidget("Red").sliceLogic().GetSliceCompositeNode()
    said = {}
    for value in (0, 100, 150, 175, 200, 400):
        panel.ui.doseSlider.value = value
        said[value] = (panel.ui.doseLabel.text, composite.GetForegroundOpacity())
    assert said[0] == ("input 1/20", 0) and said[100] == ("1/10", 0) and said[400] == ("full", 0)
    assert said[150] == ("1/7, between 1/10 and 1/4", 0.5)  # 1/0.1 = 10, 1/0.25 = 4, their mean is 7
    assert said[175][1] == 0.75 and said[175][0].startswith("1/6")  # 10 - 0.75 * 6 = 5.5
    assert composite.GetBackgroundVolumeID() == nodes[1.0].GetID()


def test_scrubbing_copies_nothing(compared, application):
    panel, _scan, nodes = compared
    before = {node.GetID(): node.GetImageData().GetMTime() for node in nodes.values()}
    count = application.scene.GetNumberOfNodes()
    for value in range(0, 401, 7):
        panel.ui.doseSlider.value = value
    assert application.scene.GetNumberOfNodes() == count
    assert before == {node.GetID(): node.GetImageData().GetMTime() for node in nodes.values()}


def press_key(text):
    """On the keyboard, with the main window in front."""
    from PySide6 import QtCore, QtTest

    QtTest.QTest.keyClick(window_in_front(), QtCore.Qt.Key(ord(text)))


def test_the_keys_go_from_dose_to_dose_while_the_panel_is_open(compared):
    import slicer

    panel, _scan, _nodes = compared
    panel.ui.doseSlider.value = 130
    seen = []
    for step in (1, 1, -1, -1, -1):
        panel.results.step(step)
        seen.append(panel.ui.doseSlider.value)
    assert seen == [200, 300, 200, 100, 0]
    actions = [action for _window, action in panel._shortcuts]
    assert [action.shortcut.toString() for action in actions] == ["[", "]", "\\"]
    assert set(actions) <= set(slicer.util.mainWindow().actions())
    press_key("]")
    assert panel.ui.doseSlider.value == 100
    press_key("[")
    assert panel.ui.doseSlider.value == 0
    panel.exit()
    press_key("]")
    assert panel.ui.doseSlider.value == 0
    assert panel._shortcuts == [] and not set(actions) & set(slicer.util.mainWindow().actions())


def test_a_new_dose_is_shown_until_the_user_touches_the_slider(panel, application):
    scan = panel._parameterNode.inputVolume
    nodes = make_result(application.scene, scan, doses=(0.1,))
    panel.results.doseArrived("one", 0.1)
    assert panel.ui.doseLabel.text == "1/10"
    nodes |= make_result(application.scene, scan, doses=(0.25,))
    panel.results.doseArrived("one", 0.25)
    assert panel.ui.doseLabel.text == "1/4"
    panel.results.step(-1)
    make_result(application.scene, scan, doses=(0.5,))
    panel.results.doseArrived("one", 0.5)
    assert panel.ui.doseLabel.text == "1/10" and panel.ui.doseSlider.maximum == 300


def choose(selector, index):
    """As a user does it: the index changes, then the selector says that somebody has chosen."""
    selector.setCurrentIndex(index)
    selector.activated(index)


def test_presets_set_scale_and_colours_everywhere(compared):
    panel, scan, nodes = compared
    ui = panel.ui
    scales = [ui.presetSelector.itemText(index) for index in range(ui.presetSelector.count)]
    colours = [ui.colourSelector.itemText(index) for index in range(ui.colourSelector.count)]
    assert scales == ["SUV 0-5", "SUV 0-8", "SUV 0-10", "SUV 0-20"]
    assert colours == ["inverted grey", "PET-DICOM", "PET-Heat"]
    names = ("InvertedGrey", "PET-DICOM", "PET-Heat")
    for index, upper in enumerate((5, 8, 10, 20)):
        choose(ui.presetSelector, index)
        choose(ui.colourSelector, index % 3)
        for node in (scan, *nodes.values()):
            display = node.GetDisplayNode()
            assert (display.GetWindow(), display.GetLevel()) == (upper, upper / 2)
            assert display.GetColorNode().GetName() == names[index % 3]
        assert (ui.presetSelector.currentIndex, ui.colourSelector.currentIndex) == (index, index % 3)
    scan.GetDisplayNode().SetWindowLevel(7, 2)  # dragged in a view: none of the presets, at once
    assert ui.presetSelector.currentIndex == -1


def test_presets_are_grey_for_a_scan_that_is_not_in_suv(panel, application):
    from Testing.slicer.panel import make_volume, scan_voxels

    make_result(application.scene, make_volume(application.scene, scan_voxels(), "counts"))
    panel.results.refresh()
    assert not panel.ui.presetSelector.enabled and "need a volume in SUV" in panel.ui.presetSelector.toolTip


def test_two_results_are_told_apart_and_a_removed_dose_is_missed_by_nobody(compared, application):
    panel, scan, nodes = compared
    make_result(application.scene, make_scan(application.scene, "other", study=False), resultID="two")
    panel.results.refresh()
    assert panel.ui.resultSelector.count == 2
    panel.ui.resultSelector.setCurrentIndex(1)
    assert panel.results.result.inputNode.GetName() == "other"
    panel.ui.resultSelector.setCurrentIndex(0)
    application.scene.RemoveNode(nodes[0.25])
    assert panel.ui.doseSlider.maximum == 300 and panel.results.result.labels() == ["input 1/20", "1/10", "1/2", "full"]
    application.scene.RemoveNode(scan)
    assert panel.results.result.labels() == ["1/10", "1/2", "full"]
    for node in result_nodes(application.scene):
        application.scene.RemoveNode(node)
    assert panel.ui.resultSelector.count == 0 and not panel.ui.doseSlider.enabled


def test_results_removed_in_one_batch_are_missed_by_nobody(compared, application):
    panel, _scan, nodes = compared
    scene = application.scene
    scene.StartState(scene.BatchProcessState)
    for dose in (0.1, 0.25):
        scene.RemoveNode(nodes[dose])
    scene.EndState(scene.BatchProcessState)
    assert panel.results.result.labels() == ["input 1/20", "1/2", "full"] and panel.ui.doseSlider.maximum == 200
