"""slicer.app: what a panel asks of the application. Names that Slicer has and this has not are refused."""

from __future__ import annotations

import sys

from PySide6 import QtCore, QtGui, QtWidgets

from .facade import wrap
from .input_output import InputOutput


class ApplicationSignals(QtCore.QObject):
    """Carries the signals of qSlicerApplication and of the module manager."""

    aboutToQuit = QtCore.Signal()
    startupCompleted = QtCore.Signal()
    lastWindowClosed = QtCore.Signal()
    moduleAboutToBeUnloaded = QtCore.Signal(str)
    moduleLoaded = QtCore.Signal(str)


class SignalSource:
    """connect() and disconnect() of an object whose signals are not a widget's."""

    SIGNALS = ()

    def __init__(self):
        self._signals = wrap(ApplicationSignals())

    def connect(self, signature, target):
        if signature not in self.SIGNALS:
            raise AttributeError(f"signal '{signature}' does not exist here; known: {', '.join(self.SIGNALS)}")
        return self._signals.connect(signature, target)

    def disconnect(self, signature, target):
        return self._signals.disconnect(signature, target)

    def emit(self, name, *arguments):
        """Fires a signal; the test's part."""
        getattr(self._signals._raw, name).emit(*arguments)


class ModuleManager(SignalSource):
    """slicer.app.moduleManager()."""

    SIGNALS = ("moduleAboutToBeUnloaded(QString)", "moduleLoaded(QString)")

    def __init__(self, modules):
        super().__init__()
        self._modules = modules

    def module(self, name):
        return getattr(self._modules, name.lower(), None)

    def modulesNames(self):
        return tuple(record.name for record in vars(self._modules).values() if hasattr(record, "path"))

    def factoryManager(self):
        return self

    loadedModuleNames = modulesNames


class Application(SignalSource):
    """qSlicerApplication in a version of the 5.12 series."""

    SIGNALS = ("aboutToQuit()", "startupCompleted()", "lastWindowClosed()")
    applicationName = "Slicer"
    majorVersion, minorVersion = 5, 12
    os = {"win32": "win", "darwin": "macosx"}.get(sys.platform, "linux")

    def __init__(self, scene, modules, layout_manager, application_logic, folder):
        super().__init__()
        self._scene, self._layout_manager, self._logic = scene, layout_manager, application_logic
        self._modules, self._io = ModuleManager(modules), InputOutput(scene, folder)
        self._folder = folder
        self._settings = QtCore.QSettings(f"{folder}/settings.ini", QtCore.QSettings.Format.IniFormat)
        self._testing = True

    def __getattr__(self, name):
        raise AttributeError(f"qSlicerApplication has no attribute named '{name}' (in the stand-in)")

    @property
    def temporaryPath(self):
        return self._folder

    def testingEnabled(self):
        return self._testing

    def processEvents(self):
        QtWidgets.QApplication.processEvents()

    def layoutManager(self):
        return self._layout_manager

    def applicationLogic(self):
        return self._logic

    def mrmlScene(self):
        return self._scene

    def moduleManager(self):
        return self._modules

    def coreIOManager(self):
        return self._io

    ioManager = coreIOManager

    def installEventFilter(self, watcher):
        QtWidgets.QApplication.instance().installEventFilter(watcher._raw)

    def removeEventFilter(self, watcher):
        QtWidgets.QApplication.instance().removeEventFilter(watcher._raw)

    def userSettings(self):
        return wrap(self._settings)

    settings = userSettings

    def startupEnvironment(self):
        return wrap(QtCore.QProcessEnvironment.systemEnvironment())

    def topLevelWidgets(self):
        return wrap([widget for widget in QtWidgets.QApplication.topLevelWidgets() if widget.objectName()])

    def clipboard(self):
        return wrap(QtGui.QGuiApplication.clipboard())

    def palette(self):
        return wrap(QtGui.QGuiApplication.palette())

    def keyboardModifiers(self):
        return wrap(QtGui.QGuiApplication.keyboardModifiers())

    def setOverrideCursor(self, cursor):
        QtGui.QGuiApplication.setOverrideCursor(getattr(cursor, "_raw", getattr(cursor, "member", cursor)))

    def restoreOverrideCursor(self):
        QtGui.QGuiApplication.restoreOverrideCursor()

    def pauseRender(self):
        return 1

    def resumeRender(self):
        return 0

    def translate(self, context, text):
        return text
