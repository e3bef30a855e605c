"""The stand-in's application: installed and removed without a trace, its scene followed, its settings kept."""

import sys

from . import standin


def test_the_subject_hierarchy_follows_the_scene(placed):
    import slicer

    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "followed")
    item = hierarchy.GetItemByDataNode(volume)
    assert item != 0 and hierarchy.GetItemName(item) == "followed"
    slicer.mrmlScene.RemoveNode(volume)
    assert hierarchy.GetItemByName("followed") == 0


def test_nothing_is_left_when_it_is_removed(installed):
    before = set(sys.modules)
    standin.remove()
    for _ in range(2):
        application = standin.install()
        slicer = sys.modules["slicer"]
        assert "qt" in sys.modules and slicer.mrmlScene is application.scene
        standin.remove()
        assert not {"qt", "ctk", "slicer.i18n", "SampleData", "PyTorchUtils"} & set(sys.modules)
        assert not hasattr(slicer, "app") and not hasattr(slicer, "mrmlScene")
    assert {name.split(".")[0] for name in set(sys.modules) - before} <= {"slicer", "slicer_core", "vtk", "vtkmodules"}


def test_a_fresh_application_is_in_layout_zero_and_quitting_saves_the_number(installed):
    standin.remove()
    application = standin.install()
    import slicer

    manager, node = slicer.app.layoutManager(), slicer.vtkMRMLLayoutNode
    assert manager.layout == node.SlicerLayoutInitialView == 0 and len(manager.sliceViewNames()) == 3
    manager.setLayout(node.SlicerLayoutOneUpRedSliceView)
    application.quit()
    assert int(slicer.app.userSettings().value("MainWindow/layout")) == node.SlicerLayoutOneUpRedSliceView
    standin.remove()
