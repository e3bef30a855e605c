"""slicer.modules: the loadable modules whose logic slicer-core has, and scripted modules loaded from their file."""

from __future__ import annotations

import importlib.util
import os
import sys
import types

from PySide6 import QtWidgets
from PySide6.QtCore import Property

from .facade import facade_class, wrap
from .mrml_widgets import qMRMLWidget

LOGICS = {
    "volumes": "vtkSlicerVolumesLogic", "sequences": "vtkSlicerSequencesLogic", "colors": "vtkSlicerColorLogic",
    "markups": "vtkSlicerMarkupsLogic", "segmentations": "vtkSlicerSegmentationsModuleLogic",
    "tables": "vtkSlicerTablesLogic", "units": "vtkSlicerUnitsLogic", "models": "vtkSlicerModelsLogic",
    "transforms": "vtkSlicerTransformLogic", "subjecthierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "cropvolume": "vtkSlicerCropVolumeLogic",
}  # fmt: skip


class LoadableModule:
    """A C++ module: its name and its logic."""

    def __init__(self, name, logic):
        self.name, self._logic = name, logic

    def logic(self):
        return self._logic


def load_logics(modules, scene, application_logic):
    """Makes every logic of LOGICS, in the scene, as slicer.modules.<name>; registers their nodes on the way."""
    import slicer

    for name, kind in LOGICS.items():
        if not hasattr(slicer, kind):
            continue
        logic = getattr(slicer, kind)()
        if hasattr(logic, "SetMRMLApplicationLogic"):
            logic.SetMRMLApplicationLogic(application_logic)
        logic.SetMRMLScene(scene)
        application_logic.SetModuleLogic(name.capitalize(), logic)
        setattr(modules, name, LoadableModule(name.capitalize(), logic))


class qSlicerScriptedLoadableModule:
    """What a scripted module gets as `parent`; other attributes are refused, as on the C++ object."""

    __slots__ = ("path", "name", "title", "categories", "dependencies", "contributors", "helpText",
                 "acknowledgementText", "icon", "hidden", "widgetRepresentationCreationEnabled", "_instance", "_widget",
                 "_python", "associatedNodeTypes")  # fmt: skip

    def __init__(self, path):
        self.path, self.name = str(path), os.path.splitext(os.path.basename(path))[0]
        self.hidden, self._widget, self._instance, self._python = False, None, None, None

    def logic(self):
        return None

    def widgetRepresentation(self):
        if self._widget is None:
            self._widget = self.createNewWidgetRepresentation()
        return self._widget

    def createNewWidgetRepresentation(self):
        return wrap(qSlicerScriptedLoadableModuleWidget(self))


class qSlicerScriptedLoadableModuleWidget(qMRMLWidget):
    """The widget that a module fills in setup()."""

    def __init__(self, module):
        import slicer

        super().__init__()
        self.setObjectName(f"{module.name}ModuleWidget")
        QtWidgets.QVBoxLayout(self)
        self.setMRMLScene(slicer.mrmlScene)
        self._module, self._python_widget, self._entered = module, None, False

    def self(self):
        if self._python_widget is None:
            self.reload()
        return self._python_widget

    def reload(self):
        import slicer

        name = self._module.name
        self._python_widget = getattr(sys.modules[name], name + "Widget")(wrap(self))
        setattr(slicer.modules, name + "Widget", self._python_widget)
        self._python_widget.setup()

    def enter(self):
        entered, self._entered = self._entered, True
        if not entered and hasattr(self.self(), "enter"):
            self.self().enter()

    def exit(self):
        entered, self._entered = self._entered, False
        if entered and hasattr(self.self(), "exit"):
            self.self().exit()

    isEntered = Property(bool, lambda self: self._entered)


def widget_class():
    """slicer.qSlicerScriptedLoadableModuleWidget."""
    return facade_class(qSlicerScriptedLoadableModuleWidget)


def load_scripted_module(modules, path) -> qSlicerScriptedLoadableModule:
    """Loads a module's file as Slicer does: its folder on sys.path, its name in sys.modules, its class instantiated."""
    folder, name = os.path.dirname(os.path.abspath(path)), os.path.splitext(os.path.basename(path))[0]
    if folder not in sys.path:
        sys.path.insert(0, folder)
    spec = importlib.util.spec_from_file_location(name, path)
    python = importlib.util.module_from_spec(spec)
    sys.modules[name] = python
    spec.loader.exec_module(python)
    record = qSlicerScriptedLoadableModule(os.path.abspath(path))
    record._instance = getattr(python, name)(record)
    setattr(modules, name.lower(), record)
    setattr(modules, name + "Instance", record._instance)
    return record


def empty_modules() -> types.SimpleNamespace:
    return types.SimpleNamespace()
