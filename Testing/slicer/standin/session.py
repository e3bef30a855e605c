"""Putting the stand-in in place for a test, and taking it away so that no other test sees it."""

from __future__ import annotations

import gc
import importlib
import os
import sys
import tempfile
import time
import types
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6 import QtCore, QtWidgets  # noqa: E402

from Testing.waiting import PATIENCE_S  # noqa: E402

from . import dicom, mrml_widgets, parameters, scripted, small_modules, validators  # noqa: E402
from .application import Application  # noqa: E402
from .dialogs import dialogs  # noqa: E402
from .facade import facade_class, unwrap, wrap  # noqa: E402
from .layout import qMRMLLayoutManager  # noqa: E402
from .modules import (  # noqa: E402
    empty_modules,
    load_logics,
    load_scripted_module,
    qSlicerScriptedLoadableModule,
    widget_class,
)
from .qt_module import CtkModule, QtModule  # noqa: E402
from .scene_events import leave_all  # noqa: E402
from .slots import errors, record_exception, times  # noqa: E402
from .subject_hierarchy import SubjectHierarchy  # noqa: E402

PROJECT = Path(__file__).resolve().parents[3]
current: StandIn | None = None


class StandIn:
    """The application as a test sees it; `slicer.app` is what the panel sees."""

    def __init__(self):
        gc.freeze()  # what was there before is not looked through when this is removed: half the tests' time
        self.errors, self.dialogs, self.slot_times = errors, dialogs, times
        self.sample_data = []
        self._before, self._path = dict(sys.modules), list(sys.path)
        self._folder = tempfile.TemporaryDirectory(prefix="standin-")
        for form in (QtCore.QSettings.Format.NativeFormat, QtCore.QSettings.Format.IniFormat):
            QtCore.QSettings.setPath(form, QtCore.QSettings.Scope.UserScope, self._folder.name)
        QtCore.QCoreApplication.setOrganizationName("standin")
        self._qt_application = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["Slicer"])
        errors.clear()
        times.clear()
        dialogs.clear()
        self._hook, sys.excepthook = sys.excepthook, record_exception
        slicer = importlib.import_module("slicer")
        self._slicer, self._names = slicer, set(vars(slicer))
        self.modules = empty_modules()
        self._make_scene()
        self._make_window()
        self._fill_slicer()

    # putting it together

    def _make_scene(self):
        slicer = self._slicer
        self.scene = slicer.vtkMRMLScene()
        self.application_logic = slicer.vtkSlicerApplicationLogic()
        self.application_logic.SetMRMLScene(self.scene)
        self.application_logic.SetHomeDirectory(self._folder.name)
        self.application_logic.SetShareDirectory("share")
        os.makedirs(os.path.join(self._folder.name, "share", "ColorFiles"))  # where Slicer's colour files would be
        load_logics(self.modules, self.scene, self.application_logic)
        colors = self.modules.colors.logic()
        self.application_logic.SetColorLogic(colors)
        self._layout = qMRMLLayoutManager(self.scene, self.application_logic)
        self.layout_manager = wrap(self._layout)
        self.hierarchy = SubjectHierarchy(self.scene)

    def _make_window(self):
        window = QtWidgets.QMainWindow()
        window.setObjectName("qSlicerMainWindow")
        window.setCentralWidget(self._layout.viewport())
        window.resize(1200, 800)
        self.main_window = wrap(window)

    def _fill_slicer(self):
        slicer = self._slicer
        self._application = Application(
            self.scene, self.modules, self.layout_manager, self.application_logic, self._folder.name
        )
        slicer.mrmlScene, slicer.app, slicer.modules, slicer.selfTests = self.scene, self._application, self.modules, {}
        slicer.dicomDatabase = dicom.DicomDatabase()
        slicer.qSlicerScriptedLoadableModule = qSlicerScriptedLoadableModule
        slicer.qSlicerScriptedLoadableModuleWidget = widget_class()
        for name, kind in vars(mrml_widgets).items():
            if name.startswith("qMRML"):
                setattr(slicer, name, facade_class(kind))
        wrapper = types.ModuleType("slicer.parameterNodeWrapper")
        for part in (validators, parameters):
            vars(wrapper).update({name: value for name, value in vars(part).items() if not name.startswith("_")})
        module = types.ModuleType("slicer.ScriptedLoadableModule")
        for name in scripted.__all__:
            setattr(module, name, getattr(scripted, name))
        module.__all__ = list(scripted.__all__)
        placed = {
            "qt": QtModule("qt"),
            "ctk": CtkModule("ctk"),
            "slicer.ScriptedLoadableModule": module,
            "slicer.parameterNodeWrapper": wrapper,
            "slicer.i18n": small_modules.i18n(),
            "PyTorchUtils": small_modules.pytorch_utils(),
            "SampleData": small_modules.sample_data(self.sample_data),
        }
        sys.modules.update(placed)
        for name, found in placed.items():
            if name.startswith("slicer."):
                setattr(slicer, name.partition(".")[2], found)
        importlib.import_module("vtk")
        self._select_module = slicer.util.selectModule
        slicer.util.selectModule = self._open_by_name  # the real one asks the main window's tool bar

    def _open_by_name(self, module):
        unwrap(getattr(self.modules, module.lower()).widgetRepresentation()).enter()

    # what a test does with it

    @property
    def testing(self) -> bool:
        """slicer.app.testingEnabled(): popups are silent."""
        return self._application._testing

    @testing.setter
    def testing(self, value):
        self._application._testing = value

    def load_module(self, path):
        """The record of a scripted module (slicer.modules.<name>), loaded from its file."""
        record = load_scripted_module(self.modules, os.path.join(PROJECT, path))
        self._application.emit("startupCompleted")
        return record

    def open_module(self, path):
        """Loads a module, makes its widget and enters it; the Python widget object."""
        name = Path(path).stem
        record = getattr(self.modules, name.lower(), None) or self.load_module(path)
        representation = record.widgetRepresentation()
        widget = unwrap(representation).self()
        self._show_panel(unwrap(representation))
        unwrap(representation).enter()
        return widget

    def _show_panel(self, panel):
        scroll = QtWidgets.QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setWidget(panel)
        # As Slicer's module panel: never a horizontal scroll bar, but at least as wide as what it shows.
        scroll.setHorizontalScrollBarPolicy(QtCore.Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setMinimumWidth(panel.minimumSizeHint().width() + scroll.verticalScrollBar().sizeHint().width())
        dock = QtWidgets.QDockWidget()
        dock.setWidget(scroll)
        unwrap(self.main_window).addDockWidget(QtCore.Qt.DockWidgetArea.LeftDockWidgetArea, dock)
        unwrap(self.main_window).show()

    def load_dicom(self, folder):
        """What Slicer's own DICOM module makes of a series: a volume without units."""
        return dicom.load_series(self.scene, self._slicer.dicomDatabase, folder)

    def close_module(self, name):
        """exit(), then cleanup(), as when Slicer unloads it."""
        record = getattr(self.modules, name.lower())
        if record._widget is not None:
            unwrap(record._widget).exit()
        self._application.moduleManager().emit("moduleAboutToBeUnloaded", name)

    def quit(self):
        """What Slicer does on quitting: the open module is left, the layout's number saved, then aboutToQuit()."""
        records = [record for record in vars(self.modules).values() if getattr(record, "_widget", None) is not None]
        for record in records:
            unwrap(record._widget).exit()
        self._application.userSettings().setValue("MainWindow/layout", self._layout.layout)
        self._application.emit("aboutToQuit")
        for record in [record for record in vars(self.modules).values() if hasattr(record, "_python")]:
            self.close_module(record.name)

    # taking it away

    def remove(self):
        unwrap(self.main_window).hide()  # what is going is not painted any more
        leave_all()
        self._layout.close()
        self.scene.Clear(True)
        for widget in QtWidgets.QApplication.topLevelWidgets():
            widget.close()
            widget.deleteLater()
        QtCore.QCoreApplication.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete)
        QtWidgets.QApplication.processEvents()
        for module in vars(self.modules).values():
            if hasattr(module, "_logic"):
                module._logic.SetMRMLScene(None)
        self.application_logic.SetMRMLScene(None)
        self._folder.cleanup()
        sys.excepthook = self._hook
        self._slicer.util.selectModule = self._select_module
        for name in set(vars(self._slicer)) - self._names:
            delattr(self._slicer, name)
        for name in set(sys.modules) - set(self._before):
            if self._is_ours(name):
                del sys.modules[name]
        # A reload gives the library new classes; other tests hold the old ones.
        sys.modules.update({name: module for name, module in self._before.items() if name.startswith("MAPDiffLib")})
        sys.path[:] = self._path
        gc.collect()
        gc.unfreeze()

    @staticmethod
    def _is_ours(name):
        """Modules that must not outlive the stand-in: those it placed, and the panel's, which hold on to them."""
        file = getattr(sys.modules[name], "__file__", None) or ""
        placed = name.split(".")[0] in ("qt", "ctk", "slicer", "PyTorchUtils", "SampleData", "MAPDiffLib")
        return placed or Path(file).is_relative_to(PROJECT / "MAPDiff")


def install() -> StandIn:
    """One at a time."""
    global current
    if current is not None:
        raise RuntimeError("the stand-in is installed already")
    current = StandIn()
    return current


def remove() -> None:
    global current
    if current is not None:
        current.remove()
        current = None


def pump(until, timeout=PATIENCE_S) -> bool:
    """Sleeps in the event loop between looks, so that waiting costs no processor time."""
    loop, limit = QtCore.QEventLoop(), time.monotonic() + timeout
    while not until():
        if time.monotonic() > limit:
            return False
        QtCore.QTimer.singleShot(20, loop.quit)
        loop.exec()
    return True


def turns(count=5) -> None:
    """Goes round the event loop so many times; a timer of no time fires once a turn, after those that waited before."""
    loop = QtCore.QEventLoop()
    for _turn in range(count):
        QtCore.QTimer.singleShot(0, loop.quit)
        loop.exec()


def grab(widget, path, size=None):
    raw = unwrap(widget)
    if size is not None:
        raw.resize(*size)
    turns()
    if not raw.grab().save(str(path)):
        raise OSError(f"could not write {path}")
