"""slicer.parameterNodeWrapper: typed attributes kept in a vtkMRMLScriptedModuleNode, tied to widgets by connectGui().

Same text in the node as Slicer writes (so that saved scenes agree), same choice of widget per type, same refusals.
"""

from __future__ import annotations

import enum
import pathlib
import typing

from .connectors import make_connector
from .serializers import serializer_for
from .validators import Choice, Default, Maximum, Minimum, Validator, WithinRange


class Parameter:
    """One attribute: its type with annotations, how it is written, its default."""

    def __init__(self, name, hint, default):
        self.name, self.hint = name, hint
        base, *notes = typing.get_args(hint) if typing.get_origin(hint) is typing.Annotated else (hint,)
        self.base, self.notes = base, notes
        self.validators = [note for note in notes if isinstance(note, Validator)]
        self.serializer = serializer_for(base)
        given = next((note.value for note in notes if isinstance(note, Default)), None)
        if default is not None:
            given = default
        self.default = given if given is not None else self._own_default()

    def _own_default(self):
        choice = next((note for note in self.notes if isinstance(note, Choice)), None)
        limit = next((note for note in self.notes if isinstance(note, (WithinRange, Minimum, Maximum))), None)
        value = self.serializer.default()
        if choice is not None:
            return choice.choices[0]
        if limit is not None and value is not None:
            low, high = getattr(limit, "minimum", value), getattr(limit, "maximum", value)
            return min(max(value, low), high)
        return value

    def read(self, node):
        if not node.HasParameter(self.serializer.key(self.name)):
            self.write(node, self.default)
        return self.serializer.read(node, self.name)

    def write(self, node, value):
        """ValueError or TypeError for a value that the type or a validator refuses."""
        self.serializer.check(value)
        for validator in self.validators:
            validator.validate(value)
        was = node.StartModify()
        try:
            self.serializer.write(node, self.name, value)
        finally:
            node.EndModify(was)


def _property(name):
    return property(lambda self: self.getValue(name), lambda self, value: self.setValue(name, value))


class Wrapper:
    """What the decorated class can do."""

    allParameters: dict[str, Parameter] = {}
    _is_parameter_node_wrapper = True

    def __init__(self, parameterNode, prefix=None):
        self.parameterNode = parameterNode
        self._guis, self._updating = {}, False
        for parameter in self.allParameters.values():
            parameter.read(parameterNode)

    def _parameter(self, name):
        if name not in self.allParameters:
            raise ValueError(f"Cannot find a param with the given name: {name}; found {sorted(self.allParameters)}")
        return self.allParameters[name]

    def getValue(self, name):
        return self._parameter(name).read(self.parameterNode)

    def setValue(self, name, value):
        self._parameter(name).write(self.parameterNode, value)

    def default(self, name):
        return Default(self._parameter(name).default)

    def connectGui(self, gui):
        """Every widget (of a widget, or of what childWidgetVariables gives) that names a parameter of this node."""
        import qt

        widgets = gui.findChildren(qt.QWidget) if hasattr(gui, "isWidgetType") else list(vars(gui).values())
        named = {widget.property("SlicerParameterName"): widget for widget in widgets}
        return self.connectParametersToGui({name: widget for name, widget in named.items() if name})

    def connectParametersToGui(self, mapping):
        for name in mapping:
            self._parameter(name)
        connectors = {name: make_connector(widget, self._parameter(name)) for name, widget in mapping.items()}
        tag = max(self._guis, default=-1) + 1
        self._guis[tag] = connectors
        for name, connector in connectors.items():
            connector.write(self.getValue(name))
            connector.connect(self._gui_changed(name, connector))
        self.AddObserver("ModifiedEvent", lambda caller, event: self._update_gui())
        return tag

    def disconnectGui(self, tag):
        for connector in self._guis.pop(tag, {}).values():
            connector.disconnect()

    def _gui_changed(self, name, connector):
        def changed():
            if not self._updating:
                self.setValue(name, connector.read())

        return changed

    def _update_gui(self):
        if self._updating:
            return
        self._updating = True
        try:
            for connectors in list(self._guis.values()):
                for name, connector in connectors.items():
                    connector.write(self.getValue(name))
        finally:
            self._updating = False

    def StartModify(self):
        return self.parameterNode.StartModify()

    def EndModify(self, was):
        return self.parameterNode.EndModify(was)

    def AddObserver(self, event, callback, priority=0.0):
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag):
        self.parameterNode.RemoveObserver(tag)

    def Modified(self):
        self.parameterNode.Modified()


def parameterNodeWrapper(classtype=None):
    """The class decorator; with or without brackets."""
    return _wrapped if classtype is None else _wrapped(classtype)


def _wrapped(classtype):
    hints = typing.get_type_hints(classtype, include_extras=True)
    reserved = set(hints) & set(dir(Wrapper))
    if reserved:
        raise ValueError(f"Cannot use reserved name '{sorted(reserved)[0]}' in a parameterNodeWrapper")
    parameters = {name: Parameter(name, hint, getattr(classtype, name, None)) for name, hint in hints.items()}
    own = {name: value for name, value in vars(classtype).items() if name not in ("__dict__", "__weakref__")}
    own |= {name: _property(name) for name in parameters} | {"allParameters": parameters}
    return type(classtype.__name__, (Wrapper, *(base for base in classtype.__bases__ if base is not object)), own)


def isParameterNodeWrapper(candidate):
    return getattr(candidate, "_is_parameter_node_wrapper", False)


__all__ = ["parameterNodeWrapper", "isParameterNodeWrapper", "WithinRange", "Minimum", "Maximum", "Choice", "Default",
           "Validator", "enum", "pathlib"]  # fmt: skip
