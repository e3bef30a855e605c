"""The modules `qt` and `ctk`: names of Qt, each shown as PythonQt shows it."""

from __future__ import annotations

import types

from PySide6 import QtCore, QtGui, QtNetwork, QtUiTools, QtWidgets

from . import ctk_widgets, dialogs, ui_file  # noqa: F401  (dialogs registers its functions)
from .enums import find_enum
from .facade import facade_class, static_functions, wrap
from .members import instance_functions
from .slots import receiver

# In PySide6, not in Slicer's qt: no panel may use these.
NOT_IN_PYTHONQT = {"QtCore", "QtGui", "QtWidgets", "QPermission", "QFileSystemModel", "QQmlEngine"}


class Namespace:
    """qt.Qt: enum values and enumerations only."""

    def __getattr__(self, name):
        found = find_enum(QtCore.Qt, name)
        if found is None:
            raise AttributeError(f"type object 'Qt' has no attribute '{name}'")
        return found


class QtModule(types.ModuleType):
    """qt.QPushButton and the rest, looked up when asked for."""

    def __getattr__(self, name):
        if not name.startswith("Q") or name in NOT_IN_PYTHONQT:
            raise AttributeError(f"module 'qt' has no attribute '{name}'")
        if name == "Qt":
            found = Namespace()
        elif name == "QUiLoader":
            found = facade_class(ui_file.QUiLoader)
        else:
            raw = next(
                (
                    getattr(each, name)
                    for each in (QtCore, QtGui, QtWidgets, QtNetwork, QtUiTools)
                    if hasattr(each, name)
                ),
                None,
            )
            if not isinstance(raw, type):
                raise AttributeError(f"module 'qt' has no attribute '{name}' (in the stand-in)")
            found = facade_class(raw)
        setattr(self, name, found)
        return found


class CtkModule(types.ModuleType):
    """ctk.ctkSliderWidget and the others that the stand-in has."""

    def __getattr__(self, name):
        raw = getattr(ctk_widgets, name, None) if name.startswith("ctk") else None
        if raw is None:
            raise AttributeError(f"module 'ctk' has no attribute '{name}' (in the stand-in)")
        setattr(self, name, facade_class(raw))
        return getattr(self, name)


def _single_shot(milliseconds, target, slot=None):
    if slot is not None:
        target = getattr(wrap(target), slot.partition("(")[0])
    QtCore.QTimer.singleShot(int(milliseconds), receiver(target, 0, wrap))


static_functions["QTimer", "singleShot"] = _single_shot


def _given_back(function):
    """A table's method, before which the cells that are left over go back to Python: an item that Python made and Qt
    deletes leaves PySide6 with what points to nothing."""

    def call(table, *arguments):
        rows = arguments[0] if function == "setRowCount" else table.rowCount()
        columns = arguments[0] if function == "setColumnCount" else table.columnCount()
        for row in range(table.rowCount()):
            for column in range(table.columnCount()):
                if row >= rows or column >= columns or (function == "setItem" and (row, column) == arguments[:2]):
                    table.takeItem(row, column)
        return getattr(table, function)(*arguments)

    return call


for _function in ("setRowCount", "setColumnCount", "setItem"):
    instance_functions["QTableWidget", _function] = _given_back(_function)
