"""The stand-in's slice views and layouts: their pictures, their sizes, and when they are known."""

from . import standin


def known(name):
    """Whether the application logic knows a view, as it does a turn after a change of layout."""
    import slicer

    return slicer.app.applicationLogic().GetSliceLogicByLayoutName(name) is not None


def test_slice_views_show_the_picture_of_the_volume(placed):
    import numpy as np
    import slicer

    assert standin.pump(lambda: known("Red"))
    voxels = np.zeros((8, 8, 8), np.float32)
    voxels[:, :4] = 100  # the half towards -A is bright
    volume = slicer.util.addVolumeFromArray(voxels, name="half")
    volume.GetDisplayNode().SetAutoWindowLevel(False)
    volume.GetDisplayNode().SetWindowLevelMinMax(0, 100)
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    picture = standin.slice_pixels("Red")
    height, width, channels = picture.shape
    assert channels == 4
    rows = picture[:, width // 2, 0]
    assert rows[height // 4] == 0 and rows[3 * height // 4] == 255


def test_the_layout_gives_views_logics_and_composite_nodes(placed):
    import slicer

    manager = slicer.app.layoutManager()
    changes = []
    manager.connect("layoutChanged(int)", changes.append)
    manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView)
    assert manager.sliceViewNames() == ("Red",)
    manager.layout = slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
    assert sorted(manager.sliceViewNames()) == ["Green", "Red", "Yellow"] and len(changes) == 2
    widget = manager.sliceWidget("Red")
    assert standin.pump(lambda: known("Red"))
    assert widget.sliceLogic() is slicer.app.applicationLogic().GetSliceLogicByLayoutName("Red")
    assert widget.mrmlSliceCompositeNode().GetLayoutName() == "Red"
    assert manager.sliceWidget("Pink") is None


SPLIT = """<layout type="horizontal" split="true">
<item{0}><view class="vtkMRMLSliceNode" singletontag="A"><property name="viewlabel" action="default">A</property></view>
</item><item{0}><view class="vtkMRMLSliceNode" singletontag="B"><property name="viewlabel" action="default">B</property>
</view></item></layout>"""


def slice_widths(*names):
    """Of slice nodes, in pixels."""
    import slicer

    manager = slicer.app.layoutManager()
    return [manager.sliceWidget(name).mrmlSliceNode().GetDimensions()[0] for name in names]


def test_views_have_their_size_and_are_known_one_turn_after_the_layout(placed):
    import qt
    import slicer

    placed.main_window.show()
    standin.turns()
    layout_node = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    layout_node.AddLayoutDescription(900, SPLIT.format(""))
    layout_node.SetViewArrangement(900)
    before, at_once = slice_widths("A", "B"), known("A")
    turn = []
    qt.QTimer.singleShot(0, lambda: turn.append(slice_widths("A", "B")))
    assert standin.pump(lambda: turn)
    assert known("A") and not at_once
    assert before == [256, 256] and abs(turn[0][0] - turn[0][1]) < 60 and sum(turn[0]) > 1000


def test_a_view_is_as_wide_as_its_bar_and_label_and_a_splitter_keeps_widths_that_no_split_size_sets(placed):
    import slicer

    placed.main_window.show()
    layout_node = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    layout_node.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView)
    for number, size in ((900, ""), (901, ' splitSize="500"')):
        layout_node.AddLayoutDescription(number, SPLIT.format(size))
    layout_node.SetViewArrangement(900)
    standin.turns()
    node = slicer.app.layoutManager().sliceWidget("A").mrmlSliceNode()
    width = slice_widths("A")[0]
    node.SetLayoutLabel("restored, 1/3 of the full dose, between 1/4 and 1/2 of it, " * 3)
    standin.turns()
    assert slice_widths("A")[0] > width
    node.SetLayoutLabel("1/3")
    layout_node.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView)
    layout_node.SetViewArrangement(900)
    standin.turns()
    kept = slice_widths("A", "B")
    layout_node.SetViewArrangement(901)
    standin.turns()
    equal = slice_widths("A", "B")
    assert abs(kept[0] - kept[1]) > 60 and abs(equal[0] - equal[1]) < 3


def test_a_scene_imported_into_one_with_volumes_leaves_the_views_empty(placed, tmp_path):
    import slicer

    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "here")
    composite = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    composite.SetBackgroundVolumeID(volume.GetID())
    saved = slicer.vtkMRMLScene()
    saved.AddNode(slicer.vtkMRMLTextNode())
    saved.Commit(str(tmp_path / "other.mrml"))
    slicer.mrmlScene.SetURL(str(tmp_path / "other.mrml"))
    slicer.mrmlScene.Import()
    assert composite.GetBackgroundVolumeID() is None
