"""Places to check: read from the report, shown with the numbers that matter, and where they lie in the world."""

from __future__ import annotations

import json

import numpy as np
import pytest

from Testing.slicer.panel import make_result

pytest_plugins = ["Testing.slicer.fixtures"]

PLACES = [
    {"position_mm_lps": [-10.0, -20.0, 30.0], "z": -0.7, "probability": 0.62, "scan": 4.2, "restored": 3.1},
    {"position_mm_lps": [5.0, 6.0, -7.0], "z": 2.6, "scan": 1.0, "restored": 1.5},
]


@pytest.fixture
def checked(panel, application):
    """The panel with a result whose report named two places."""
    from MAPDiffPanelLib.outputs import PLACES as ATTRIBUTE

    for node in make_result(application.scene, panel._parameterNode.inputVolume).values():
        node.SetAttribute(ATTRIBUTE, json.dumps(PLACES))
    panel.results.refresh()
    return panel


def worlds(panel):
    """RAS of the places, by the scan's transform as numpy has it."""
    import slicer
    import vtk

    matrix = vtk.vtkMatrix4x4()
    panel._parameterNode.inputVolume.GetParentTransformNode().GetMatrixTransformToWorld(matrix)
    points = np.array([place["position_mm_lps"] for place in PLACES]) * [-1, -1, 1]
    return points @ slicer.util.arrayFromVTKMatrix(matrix)[:3, :3].T + slicer.util.arrayFromVTKMatrix(matrix)[:3, 3]


def test_each_place_says_what_is_lower_or_higher_and_by_how_much(checked):
    selector = checked.ui.placesSelector
    assert [selector.itemText(index) for index in range(selector.count)] == [
        "1: 4.20 to 3.10 (62 %)",
        "2: 1.00 to 1.50",  # of an older result
    ]


def test_choosing_a_place_moves_every_slice_view_there(checked, application):
    for index, world in enumerate(worlds(checked)):
        checked.ui.placesSelector.setCurrentIndex(index)
        checked.ui.placesSelector.activated.emit(index)
        for name in ("Red", "Green", "Yellow"):
            node = application.layout_manager.sliceWidget(name).mrmlSliceNode()
            toRas = node.GetSliceToRAS()
            normal = np.array([toRas.GetElement(row, 2) for row in range(3)])
            origin = np.array([toRas.GetElement(row, 3) for row in range(3)])
            assert abs(normal @ (world - origin)) < 1e-6, name


def test_all_places_are_marked_as_points_of_the_scene_once(checked, application):
    checked.ui.placesButton.click()
    checked.ui.placesButton.click()
    assert application.scene.GetNumberOfNodesByClass("vtkMRMLMarkupsFiducialNode") == 1
    node = application.scene.GetFirstNodeByClass("vtkMRMLMarkupsFiducialNode")
    points = np.empty((2, 3))
    for index in range(2):
        node.GetNthControlPointPositionWorld(index, points[index])
    assert np.allclose(points, worlds(checked)) and node.GetName() == "PET MAPDiff places"


@pytest.mark.parametrize("places, words", [(None, "came without"), ([], "Nowhere is a loss likely enough")])
def test_no_list_and_an_empty_one_are_told_apart(panel, application, places, words):
    from MAPDiffPanelLib.outputs import PLACES as ATTRIBUTE

    for node in make_result(application.scene, panel._parameterNode.inputVolume).values():
        if places is not None:
            node.SetAttribute(ATTRIBUTE, json.dumps(places))
    panel.results.refresh()
    assert not panel.ui.placesSelector.enabled and words in panel.ui.placesSelector.toolTip
