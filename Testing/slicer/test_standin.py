"""The stand-in answers as the real widgets do: 54 idioms asked of PythonQt, CTK and qMRML, and what they refuse."""

import json
import re
import sys
import types

import pytest

from Testing.recorded import recorded_data

from . import standin

DATA = recorded_data("pythonqt")
recorded = pytest.mark.skipif(
    DATA is None, reason="the recorded answers, pythonqt, are not here (their parent folder goes in MAPDIFF_TEST_DATA)"
)
LAST_LINE = "import os; sys.stdout.flush(); os._exit(0)"

pytestmark = pytest.mark.skipif(bool(standin.missing()), reason=f"not installed: {', '.join(standin.missing())}")


@pytest.fixture(scope="module")
def placed():
    application = standin.install()
    yield application
    standin.remove()


def without_addresses(answer):
    return re.sub(r"0x[0-9a-f]*", "0x", answer)


@recorded
def test_the_idioms_get_the_answers_of_the_real_widgets(placed, tmp_path, monkeypatch):
    source = (DATA / "idioms.py").read_text(encoding="utf-8")
    assert source.rstrip().endswith(LAST_LINE)
    monkeypatch.setattr(sys, "argv", ["idioms.py", str(tmp_path), str(tmp_path / "answers.json")])
    monkeypatch.setitem(sys.modules, "compat", types.ModuleType("compat"))
    exec(compile(source.replace(LAST_LINE, ""), "idioms.py", "exec"), {"__name__": "idioms"})
    given = json.loads((tmp_path / "answers.json").read_text(encoding="utf-8"))
    real = json.loads((DATA / "answers.json").read_text(encoding="utf-8"))
    different = {
        name: (answer, given.get(name))
        for name, answer in real.items()
        if without_addresses(given.get(name, "")) != without_addresses(answer)
    }
    assert not different
    assert len(real) == 54 and set(given) == set(real)


@recorded
def test_the_table_is_a_part_of_what_was_read_off_the_real_widgets():
    from .standin.tables import TABLE, compact

    full = json.loads((DATA / "widgets.json").read_text(encoding="utf-8"))
    assert json.loads(TABLE.read_text(encoding="utf-8")) == compact(full)


def test_names_that_the_real_class_lacks_are_refused(placed):
    import ctk
    import qt
    import slicer

    refused = [
        (ctk.ctkSliderWidget(), "setMaximum"),  # CTK's setters are properties unless they are slots
        (ctk.ctkSliderWidget(), "spinBox"),
        (slicer.qMRMLNodeComboBox(), "setNodeTypes"),
        (slicer.qMRMLNodeComboBox(), "currentIndex"),
        (qt.QLabel("x"), "clicked"),
        (qt.QPushButton("x"), "staticMetaObject"),
        (qt.QComboBox(), "emit"),
    ]
    for widget, name in refused:
        assert not hasattr(widget, name), (widget, name)
        with pytest.raises(AttributeError):
            setattr(widget, name, 1)


def test_read_only_properties_slots_and_signals_cannot_be_set(placed):
    import qt

    combo = qt.QComboBox()
    for name in ("count", "currentData", "addItem", "currentIndexChanged", "AdjustToContents", "width"):
        with pytest.raises(AttributeError):
            setattr(combo, name, 1)


def test_a_value_of_the_wrong_type_is_refused(placed):
    import qt
    import slicer

    for widget, name, value in [
        (qt.QLabel(), "text", 5),
        (qt.QLabel(), "text", None),
        (qt.QSpinBox(), "value", "5"),
        (qt.QPushButton(), "enabled", "yes"),
        (slicer.qMRMLNodeComboBox(), "nodeTypes", "vtkMRMLScalarVolumeNode"),
    ]:
        with pytest.raises(AttributeError):
            setattr(widget, name, value)
    with pytest.raises(ValueError):
        qt.QLabel().setText(5)


def test_a_python_subclass_may_have_attributes_and_override_virtual_functions(placed):
    import qt

    class Filter(qt.QObject):
        def __init__(self):
            qt.QObject.__init__(self)
            self.seen = []

        def eventFilter(self, watched, event):
            self.seen.append((watched, event.type()))
            return False

    watcher, label = Filter(), qt.QLabel("x")
    label.installEventFilter(watcher)
    label.enabled = False
    assert (label, qt.QEvent.EnabledChange) in watcher.seen


def test_connecting_to_a_signal_that_is_not_there_is_refused(placed):
    import qt

    button = qt.QPushButton("x")
    for signature in ("clicked", "pushed()", "clicked(int)"):
        with pytest.raises((AttributeError, ValueError)):
            button.connect(signature, print)
    with pytest.raises(NotImplementedError):  # Qt 5 only
        qt.QComboBox().connect("currentIndexChanged(QString)", print)


def test_a_function_gets_as_many_arguments_as_it_has_parameters(placed):
    import qt

    button, got = qt.QPushButton("x"), []
    button.clicked.connect(lambda: got.append(()))
    button.clicked.connect(lambda checked="default": got.append(checked))
    button.connect("clicked()", lambda checked="default": got.append(checked))
    button.click()
    assert got == [(), False, "default"]


def test_an_exception_in_a_slot_is_remembered_and_not_raised(placed):
    import qt
    import slicer

    button = qt.QPushButton("x")
    button.connect("clicked()", lambda: 1 / 0)
    button.click()
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode")
    node.AddObserver("ModifiedEvent", lambda caller, event: {}["gone"])
    node.Modified()
    errors = list(placed.errors)
    placed.errors.clear()
    assert "ZeroDivisionError" in errors[0] and "KeyError" in errors[1]


def test_disconnecting_ends_the_calls(placed):
    import qt

    box, got = qt.QSpinBox(), []
    box.connect("valueChanged(int)", got.append)
    box.value = 3
    assert box.disconnect("valueChanged(int)", got.append)
    assert not box.disconnect("valueChanged(int)", got.append)
    box.value = 4
    assert got == [3]


def test_an_object_that_nobody_holds_is_gone_at_once(placed):
    import qt

    ticks = []

    def forget(parent):
        timer = qt.QTimer(parent)
        timer.connect("timeout()", lambda: ticks.append(parent))
        timer.start(1)

    parent = qt.QWidget()
    forget(None)
    forget(parent)
    assert standin.pump(lambda: len(ticks) > 2) and None not in ticks


def test_a_deleted_widget_refuses_everything(placed):
    import qt

    label = qt.QLabel("x")
    label.delete()
    assert not label
    with pytest.raises(ValueError):
        label.text  # noqa: B018


def test_a_dialog_that_nobody_answers_fails_instead_of_waiting(placed):
    import qt
    import slicer

    placed.testing = False
    with pytest.raises(AssertionError, match="nobody answers"):
        slicer.util.errorDisplay("the worker ended", detailedText="line 3")
    placed.dialogs.answer(qt.QMessageBox.Yes, "/data/bundle", qt.QMessageBox.Ok)
    assert qt.QMessageBox.question(None, "MAPDiff", "Install?") == qt.QMessageBox.Yes
    assert qt.QFileDialog.getExistingDirectory(None, "Folder") == "/data/bundle"
    slicer.util.errorDisplay("again")
    placed.testing = True
    slicer.util.errorDisplay("silent")
    assert [shown.text for shown in placed.dialogs.shown] == ["the worker ended", "Install?", "Folder", "again"]
    assert placed.dialogs.shown[0].details == "line 3"


def test_a_child_process_runs_while_the_event_loop_is_pumped(placed):
    import qt

    process, lines, ends = qt.QProcess(), [], []
    process.connect("readyReadStandardOutput()", lambda: lines.append(process.readAllStandardOutput().data()))
    process.connect("finished(int,QProcess::ExitStatus)", lambda code, status: ends.append((code, status)))
    process.start(sys.executable, ["-S", "-c", "print(input())"])
    process.write(b"hello\n")
    assert standin.pump(lambda: ends, timeout=60)
    assert b"".join(lines).split() == [b"hello"] and ends == [(0, qt.QProcess.NormalExit)]


UI = """<?xml version="1.0" encoding="UTF-8"?>
<ui version="4.0"><class>Test</class>
<widget class="qMRMLWidget" name="Test"><layout class="QVBoxLayout" name="column"><item>
 <widget class="ctkCollapsibleButton" name="folded"><property name="text"><string>Options</string></property>
  <property name="collapsed"><bool>true</bool></property>
  <layout class="QFormLayout" name="form"><item row="0" column="0">
   <widget class="qMRMLNodeComboBox" name="selector">
    <property name="nodeTypes"><stringlist><string>vtkMRMLScalarVolumeNode</string></stringlist></property>
    <property name="noneEnabled"><bool>true</bool></property>
    <property name="SlicerParameterName" stdset="0"><string>inputVolume</string></property>
   </widget></item><item row="1" column="0">
   <widget class="QSpinBox" name="seed"><property name="{property}"><number>7</number></property></widget></item>
  </layout></widget></item></layout></widget>
<customwidgets><customwidget><class>qMRMLWidget</class><extends>QWidget</extends><header>x.h</header><container>1</container>
</customwidget><customwidget><class>ctkCollapsibleButton</class><extends>QWidget</extends><header>x.h</header>
<container>1</container></customwidget><customwidget><class>qMRMLNodeComboBox</class><extends>QWidget</extends>
<header>x.h</header></customwidget></customwidgets>
<connections><connection><sender>Test</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal><receiver>selector</receiver>
<slot>setMRMLScene(vtkMRMLScene*)</slot></connection></connections></ui>"""


def test_a_ui_file_gives_strict_widgets_with_its_connections(placed, tmp_path):
    import qt
    import slicer

    (tmp_path / "test.ui").write_text(UI.replace("{property}", "value"), encoding="utf-8")
    widget = slicer.util.loadUI(str(tmp_path / "test.ui"))
    ui = slicer.util.childWidgetVariables(widget)
    assert type(ui.selector) is slicer.qMRMLNodeComboBox and type(ui.seed) is qt.QSpinBox
    assert type(widget.layout()) is qt.QVBoxLayout and widget.layout().count() == 1
    assert not ui.selector.enabled
    widget.setMRMLScene(slicer.mrmlScene)
    assert ui.selector.enabled and ui.selector.mrmlScene() is slicer.mrmlScene
    assert ui.selector.nodeTypes == ("vtkMRMLScalarVolumeNode",) and ui.seed.value == 7 and ui.folded.collapsed
    assert ui.selector.property("SlicerParameterName") == "inputVolume"
    standin.grab(widget, tmp_path / "test.png")
    assert (tmp_path / "test.png").stat().st_size > 200


def test_a_ui_file_is_held_against_the_real_classes(placed, tmp_path):
    path = tmp_path / "test.ui"
    path.write_text(UI.replace("{property}", "value"), encoding="utf-8")
    assert standin.check_ui(path) == []
    path.write_text(UI.replace("{property}", "worth"), encoding="utf-8")
    assert standin.check_ui(path) == ["seed, a QSpinBox, has no writable property worth"]


def test_a_parameter_node_and_its_widgets_follow_each_other(placed):
    from typing import Annotated

    import ctk
    import qt
    import slicer
    from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

    @parameterNodeWrapper
    class Parameters:
        inputVolume: slicer.vtkMRMLScalarVolumeNode
        steps: Annotated[int, WithinRange(1, 200)] = 25
        weight: float
        doses: list[float]

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")
    parameters = Parameters(node)
    box, selector, slider = qt.QSpinBox(), slicer.qMRMLNodeComboBox(), ctk.ctkSliderWidget()
    selector.setMRMLScene(slicer.mrmlScene)
    for widget, name in ((box, "steps"), (selector, "inputVolume")):
        widget.setProperty("SlicerParameterName", name)
    gui = types.SimpleNamespace(box=box, selector=selector)
    parameters.connectGui(gui)
    assert (box.value, box.maximum) == (25, 200)
    box.value = 30
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "PET")
    parameters.inputVolume = volume
    parameters.doses = [0.1, 1.0]
    assert parameters.steps == 30 and selector.currentNode() is volume and parameters.doses == [0.1, 1.0]
    assert Parameters(node).doses == [0.1, 1.0] and node.GetParameter("doses_len") == "2"
    with pytest.raises(ValueError):
        parameters.steps = 500
    slider.setProperty("SlicerParameterName", "weight")
    with pytest.raises(RuntimeError):  # a slider needs limits
        parameters.connectGui(types.SimpleNamespace(slider=slider))


def test_slice_views_show_the_picture_of_the_volume(placed):
    import numpy as np
    import slicer

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
    assert widget.sliceLogic() is slicer.app.applicationLogic().GetSliceLogicByLayoutName("Red")
    assert widget.mrmlSliceCompositeNode().GetLayoutName() == "Red"
    assert manager.sliceWidget("Pink") is None


SPLIT = """<layout type="horizontal" split="true">
<item{0}><view class="vtkMRMLSliceNode" singletontag="A"><property name="viewlabel" action="default">A</property></view>
</item><item{0}><view class="vtkMRMLSliceNode" singletontag="B"><property name="viewlabel" action="default">B</property>
</view></item></layout>"""


def slice_widths(placed, *names):
    """Of slice nodes, in pixels."""
    import slicer

    manager = slicer.app.layoutManager()
    return [manager.sliceWidget(name).mrmlSliceNode().GetDimensions()[0] for name in names]


def test_views_have_their_size_and_are_known_one_turn_after_the_layout(placed):
    import qt
    import slicer

    placed.main_window.show()
    standin.pump(timeout=0.05)
    layout_node, logics = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode"), slicer.app.applicationLogic()
    layout_node.AddLayoutDescription(900, SPLIT.format(""))
    layout_node.SetViewArrangement(900)
    before, known = slice_widths(placed, "A", "B"), logics.GetSliceLogicByLayoutName("A")
    turn = []
    qt.QTimer.singleShot(0, lambda: turn.append(slice_widths(placed, "A", "B")))
    assert standin.pump(lambda: turn)
    assert known is None and logics.GetSliceLogicByLayoutName("A") is not None
    assert before == [256, 256] and abs(turn[0][0] - turn[0][1]) < 60 and sum(turn[0]) > 1000


def test_a_view_is_as_wide_as_its_bar_and_label_and_a_splitter_keeps_widths_that_no_split_size_sets(placed):
    import slicer

    placed.main_window.show()
    layout_node = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    layout_node.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView)
    for number, size in ((900, ""), (901, ' splitSize="500"')):
        layout_node.AddLayoutDescription(number, SPLIT.format(size))
    layout_node.SetViewArrangement(900)
    standin.pump(timeout=0.05)
    node = slicer.app.layoutManager().sliceWidget("A").mrmlSliceNode()
    width = slice_widths(placed, "A")[0]
    node.SetLayoutLabel("restored, 1/3 of the full dose, between 1/4 and 1/2 of it, " * 3)
    standin.pump(timeout=0.05)
    assert slice_widths(placed, "A")[0] > width
    node.SetLayoutLabel("1/3")
    layout_node.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView)
    layout_node.SetViewArrangement(900)
    standin.pump(timeout=0.05)
    kept = slice_widths(placed, "A", "B")
    layout_node.SetViewArrangement(901)
    standin.pump(timeout=0.05)
    equal = slice_widths(placed, "A", "B")
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


def test_the_subject_hierarchy_follows_the_scene(placed):
    import slicer

    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "followed")
    item = hierarchy.GetItemByDataNode(volume)
    assert item != 0 and hierarchy.GetItemName(item) == "followed"
    slicer.mrmlScene.RemoveNode(volume)
    assert hierarchy.GetItemByName("followed") == 0


def test_nothing_is_left_when_it_is_removed():
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


def test_a_fresh_application_is_in_layout_zero_and_quitting_saves_the_number():
    standin.remove()
    application = standin.install()
    import slicer

    manager, node = slicer.app.layoutManager(), slicer.vtkMRMLLayoutNode
    assert manager.layout == node.SlicerLayoutInitialView == 0 and len(manager.sliceViewNames()) == 3
    manager.setLayout(node.SlicerLayoutOneUpRedSliceView)
    application.quit()
    assert int(slicer.app.userSettings().value("MainWindow/layout")) == node.SlicerLayoutOneUpRedSliceView
    standin.remove()
