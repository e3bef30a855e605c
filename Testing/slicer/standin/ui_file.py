"""Qt Designer's .ui files: loaded by Qt's own loader with ctk and qMRML classes, and held against the real classes."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from functools import cache
from pathlib import Path

from PySide6 import QtCore, QtUiTools, QtWidgets

from . import ctk_widgets, mrml_widgets
from .facade import wrap
from .tables import Signal, table_of

HAS_ONLY_DESIGNER = {"Line", "Spacer"}


@cache
def custom_classes() -> dict[str, type]:
    """The ctk and qMRML widgets of the stand-in by name."""
    found = vars(ctk_widgets) | vars(mrml_widgets)
    return {
        name: kind for name, kind in found.items()
        if name.startswith(("ctk", "qMRML")) and isinstance(kind, type) and issubclass(kind, QtWidgets.QWidget)
    }  # fmt: skip


class QUiLoader(QtUiTools.QUiLoader):
    """Makes the widgets of a .ui file, and its signal-slot connections, which may be between ctk and qMRML widgets."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        for kind in custom_classes().values():
            self.registerCustomWidget(kind)

    def createWidget(self, class_name, parent=None, name=""):
        """Made in Python, for PySide6 would show a widget made by Qt as a QWidget."""
        kind = custom_classes().get(class_name) or getattr(QtWidgets, class_name, None)
        if kind is None:
            return super().createWidget(class_name, parent, name)
        widget = kind(parent)
        widget.setObjectName(name)
        return widget

    def createLayout(self, class_name, parent=None, name=""):
        layout = getattr(QtWidgets, class_name)()
        layout.setObjectName(name)
        if isinstance(parent, QtWidgets.QWidget) and parent.layout() is None:
            parent.setLayout(layout)
        return layout

    def load(self, source, parent=None):
        text = bytes(source.readAll())
        tree = ElementTree.fromstring(text)
        connections = list(tree.iter("connection"))
        for found in tree.findall("connections"):
            tree.remove(found)
        buffer = QtCore.QBuffer()
        buffer.setData(ElementTree.tostring(tree, encoding="utf-8"))
        buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
        widget = super().load(buffer, parent)
        for connection in connections if widget else ():
            self._connect(
                widget, {part: connection.findtext(part) for part in ("sender", "signal", "receiver", "slot")}
            )
        return widget

    @staticmethod
    def _connect(widget, names):
        ends = [
            widget if widget.objectName() == names[end] else widget.findChild(QtCore.QObject, names[end])
            for end in ("sender", "receiver")
        ]
        if None in ends:
            raise ValueError(f"the .ui file connects a widget that it does not have: {names}")
        wrap(ends[0]).connect(names["signal"], wrap(ends[1]), names["slot"])


def check_ui(path) -> list[str]:
    """Sentences about what the real widgets do not have; none when the .ui file is right."""
    tree = ElementTree.parse(Path(path)).getroot()
    complaints, classes = [], {}
    for element in tree.iter("widget"):
        name, kind = element.get("name"), element.get("class")
        classes[name] = kind
        complaints += _class_complaints(name, kind)
        for entry in element.findall("property"):
            complaints += _property_complaints(name, kind, entry)
    for entry in tree.iter("connection"):
        for end, member in (("sender", "signal"), ("receiver", "slot")):
            table = table_of(classes.get(entry.findtext(end), ""))
            wanted = Signal.parse(entry.findtext(member))
            if table and not (wanted in table.signals if member == "signal" else wanted.name in table.names):
                complaints.append(f"{entry.findtext(end)} has no {member} {entry.findtext(member)}")
    names = [element.get("name") for element in tree.iter("widget")]
    complaints += [f"the name {name} is given twice" for name in sorted(set(names)) if names.count(name) > 1]
    return complaints


def _class_complaints(name, kind):
    if kind in HAS_ONLY_DESIGNER or table_of(kind) or hasattr(QtWidgets, kind):
        return []
    return [f"{name} is a {kind}, which the tables do not know"]


def _property_complaints(name, kind, entry):
    key = entry.get("name")
    table = table_of(kind)
    if table is None or key.startswith("Slicer") and entry.get("stdset") == "0":
        return []
    if key in table.properties:
        return []
    return [f"{name}, a {kind}, has no writable property {key}"]
