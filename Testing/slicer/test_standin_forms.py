"""The stand-in's forms: a .ui file becomes strict widgets, which follow a parameter node."""

import types

import pytest

from . import standin

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
