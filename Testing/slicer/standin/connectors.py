"""Which widget may show which type of parameter, as connectGui() has it: exact classes, unbounded sliders refused."""

from __future__ import annotations

import enum

from .validators import Choice, Decimals, Maximum, Minimum, SingleStep, WithinRange


class Connector:
    """A widget, the signal that says it changed, and how its value is read and written."""

    def __init__(self, widget, signal, read, write):
        self.widget, self.read, self.write = widget, read, write
        self._signal, self._callback = signal, None

    def connect(self, callback):
        self._callback = lambda *arguments: callback()
        getattr(self.widget, self._signal).connect(self._callback)

    def disconnect(self):
        getattr(self.widget, self._signal).disconnect(self._callback)


def by_property(widget, signal, name, kind=lambda value: value, text=lambda value: value):
    return Connector(
        widget, signal, lambda: kind(getattr(widget, name)), lambda value: setattr(widget, name, text(value))
    )


def make_connector(widget, parameter) -> Connector:
    """RuntimeError when Slicer has no connector for this widget and type."""
    import slicer

    name, kind = widget.className(), parameter.base
    if hasattr(parameter.serializer, "item"):
        name = "list of " + name
    if kind is bool and name == "QCheckBox":
        return by_property(widget, "stateChanged", "checked")
    if kind is bool and name == "QPushButton":
        widget.checkable = True
        return by_property(widget, "toggled", "checked")
    if kind is int and name in ("QSlider", "QSpinBox"):
        return _number(widget, parameter, -(2**31), 2**31 - 1, name == "QSlider")
    if kind is float and name in ("QDoubleSpinBox", "ctkSliderWidget"):
        return _number(widget, parameter, -1.7e308, 1.7e308, name == "ctkSliderWidget")
    if name == "QComboBox" and kind in (int, float, str, bool):
        choice = next((note for note in parameter.notes if isinstance(note, Choice)), None)
        if choice is None:
            raise RuntimeError("ComboBoxToStringableConnector requires the Choice annotation to be used.")
        return _choice(widget, [(str(each), each) for each in choice.choices])
    if name == "QComboBox" and isinstance(kind, type) and issubclass(kind, enum.Enum):
        label = getattr(kind, "label", lambda each: each.name)
        return _choice(widget, [(label(each), each) for each in kind])
    if name == "QLineEdit" and kind is str:
        return by_property(widget, "textChanged", "text")
    node_kind = parameter.serializer.kind
    if name == "qMRMLNodeComboBox" and issubclass(node_kind, slicer.vtkMRMLNode):
        widget.nodeTypes = [node_kind.__name__]
        return Connector(widget, "currentNodeChanged", widget.currentNode, widget.setCurrentNode)
    raise RuntimeError(f"Unable to create GUI connector from datatype '{parameter.hint}' to widget type '{name}'")


def _number(widget, parameter, lowest, highest, needs_limits):
    limits = [note for note in parameter.notes if isinstance(note, (WithinRange, Minimum, Maximum))]
    low = next((note.minimum for note in limits if hasattr(note, "minimum")), None)
    high = next((note.maximum for note in limits if hasattr(note, "maximum")), None)
    if needs_limits and None in (low, high):
        raise RuntimeError("Cannot have a connection to a slider where the type is unbounded.")
    for note in parameter.notes:
        if isinstance(note, Decimals):
            widget.decimals = note.value
        if isinstance(note, SingleStep):
            widget.singleStep = note.value
    widget.minimum = lowest if low is None else low
    widget.maximum = highest if high is None else high
    return by_property(widget, "valueChanged", "value")


def _choice(widget, choices):
    widget.clear()
    for label, _ in choices:
        widget.addItem(label)

    def write(value):
        rows = [row for row, (_, each) in enumerate(choices) if each == value]
        if not rows:
            raise ValueError(f"Unable to find value {value} in choices {choices}")
        widget.currentIndex = rows[0]

    return Connector(widget, "currentIndexChanged", lambda: choices[widget.currentIndex][1], write)
