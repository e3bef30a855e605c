"""What a name means on a Qt object: property, signal, enum or method; by the real class's table where there is one."""

from __future__ import annotations

import enum
from functools import cache, partial
from typing import NamedTuple

import shiboken6
from PySide6 import QtCore, QtWidgets

from .enums import find_enum
from .slots import raw_signal, receiver
from .tables import Signal, table_of
from .values import converted

# Of several signals of one name, the one that an attribute stands for where it is not the longest of the table.
FIRST_DECLARED = {
    "currentIndexChanged": "int", "activated": "int", "highlighted": "int", "valueChanged": "int",
    "currentNodeChanged": "vtkMRMLNode*", "buttonClicked": "QAbstractButton*", "layoutChanged": "int",
}  # fmt: skip

instance_functions: dict[tuple[str, str], object] = {}  # what to call instead of PySide6's for an object, given first


class Member(NamedTuple):
    """`type` is a writable property's C++ type ('' when read only)."""

    kind: str
    name: str
    type: str = ""
    signal: Signal | None = None


@cache
def find_member(class_name: str, raw_class: type, name: str) -> Member | None:
    """What `name` is on that class, None when the real one has no such name."""
    if name == "name" and issubclass(raw_class, QtCore.QObject):
        name = "objectName"
    stem = name[:-1] if name.endswith("_") and not name.endswith("__") else name  # exec_, print_, raise_
    table = table_of(class_name)
    if table is None:
        return _by_meta_object(raw_class, name) or (_by_meta_object(raw_class, stem) if stem != name else None)
    if name in table.properties:
        return Member("property", name, table.properties[name])
    if name in table.read_only:
        return Member("property", name)
    if name not in table.names and stem not in table.names:
        return None
    signal = _first_signal(table.signals, name)
    if signal:
        return Member("signal", name, signal=signal)
    if find_enum(raw_class, name) is not None:
        return Member("enum", name)
    return Member("method", name if hasattr(raw_class, name) else stem)


def _first_signal(signals, name):
    found = [signal for signal in signals if signal.name == name]
    known = [signal for signal in found if signal.types[:1] == (FIRST_DECLARED.get(name),)]
    return max(known or found, key=lambda signal: len(signal.types), default=None)


def _by_meta_object(raw_class, name):
    """For classes without a table. A widget's own names are QWidget's in the table, beyond that PySide6's."""
    if name.startswith("_") or name in ("staticMetaObject", "tr"):
        return None
    if issubclass(raw_class, QtCore.QObject):
        if raw_class is not QtWidgets.QWidget and issubclass(raw_class, QtWidgets.QWidget):
            inherited = find_member("QWidget", QtWidgets.QWidget, name)
            if inherited and inherited.kind in ("property", "signal"):
                return inherited
        meta = raw_class.staticMetaObject
        index = meta.indexOfProperty(name)
        if index >= 0:
            found = meta.property(index)
            return Member("property", name, (found.typeName() or "QVariant") if found.isWritable() else "")
        methods = [meta.method(index) for index in range(meta.methodCount())]
        signals = [
            Signal.parse(bytes(method.methodSignature()).decode())
            for method in methods
            if method.methodType() == QtCore.QMetaMethod.MethodType.Signal and bytes(method.name()).decode() == name
        ]
        if signals:
            return Member("signal", name, signal=_first_signal(signals, name))
    if find_enum(raw_class, name) is not None:
        return Member("enum", name)
    return Member("method", name) if callable(getattr(raw_class, name, None)) else None


def read_property(raw, name):
    """A property's value as PySide6 has it."""
    if raw.metaObject().indexOfProperty(name) < 0:
        raise NotImplementedError(f"the stand-in has no property {name} of {raw.metaObject().className()}")
    return raw.property(name)


def write_property(raw, class_name, member, value):
    """Sets a property, or refuses the value as PythonQt does (or what PythonQt would quietly turn into another)."""
    index = raw.metaObject().indexOfProperty(member.name)
    if index < 0:
        raise NotImplementedError(f"the stand-in has no property {member.name} of {class_name}")
    wrong = f"Property '{member.name}' of type '{member.type}' does not accept an object of type {type(value).__name__}"
    try:
        value = converted(value, member.type)
    except TypeError:
        raise AttributeError(f"{wrong} ({value!r})") from None
    is_enum = raw.metaObject().property(index).isEnumType()
    if isinstance(value, enum.Enum):
        value = value.value
    if not raw.setProperty(member.name, int(value) if is_enum else value):
        raise AttributeError(f"{wrong} ({value!r})")


class Slot:
    """A method bound to its object."""

    def __init__(self, owner, name):
        self._owner, self._name = owner, name
        if not hasattr(owner._raw, name):
            raise NotImplementedError(f"the stand-in has no {owner._name}.{name}; the real one has")

    def __call__(self, *arguments):
        raw = self._owner._raw
        special = next(
            (
                found
                for base in type(raw).__mro__
                for key, found in instance_functions.items()
                if key == (base.__name__, self._name)
            ),
            None,
        )
        function = partial(special, raw) if special else getattr(raw, self._name)
        return self._owner._call(function, self._name, arguments)

    def __eq__(self, other):
        return isinstance(other, Slot) and (self._owner, self._name) == (other._owner, other._name)

    def __hash__(self):
        return hash((self._owner, self._name))

    def __repr__(self):
        return f"<qt slot {self._name} of {self._owner._name} instance at {id(self._owner):#x}>"


def builtin(name):
    """What PythonQt adds to every QObject."""
    return BUILTINS.get(name)


def _connect(self, signature, target, slot=None):
    """connect('clicked()', function) or connect('clicked()', object, 'slot()'); PythonQt only warns of bad names."""
    signal = Signal.parse(signature)
    table = table_of(self._name)
    if table is not None and signal not in table.signals:
        raise AttributeError(f"QObject::connect() signal '{signature}' does not exist on {self._name}")
    if slot is not None:
        target = getattr(target, Signal.parse(slot).name)
    if not callable(target):
        raise ValueError(f"{target!r} is not callable")
    receive = receiver(target, len(signal.types), self._wrap)
    raw_signal(self._raw, signal).connect(receive)
    self._raw.__dict__.setdefault("_receivers", []).append((signal, target, receive))
    return True


def _disconnect(self, signature=None, target=None, slot=None):
    """True when something was connected, as in PythonQt."""
    signal = Signal.parse(signature) if signature else None
    if slot is not None:
        target = getattr(target, Signal.parse(slot).name)
    receivers = self._raw.__dict__.get("_receivers", [])
    gone = [each for each in receivers if signal in (None, each[0]) and target in (None, each[1])]
    for each in gone:
        raw_signal(self._raw, each[0]).disconnect(each[2])
        receivers.remove(each)
    return bool(gone)


def _class_of(kind):
    return kind if isinstance(kind, str) else kind._name


def _find_children(self, kind, name=""):
    found = self._raw.findChildren(QtCore.QObject)
    return tuple(
        self._wrap(child) for child in found if inherits(child, _class_of(kind)) and name in ("", child.objectName())
    )


def inherits(raw, class_name: str) -> bool:
    """Whether an object is of that class, where ctk and qMRML classes count as widgets."""
    return raw.inherits(class_name) or any(base.__name__ == class_name for base in type(raw).__mro__)


def _find_child(self, kind, name=""):
    return next(iter(_find_children(self, kind, name)), None)


def _class_name(self):
    return self._raw.metaObject().className()


def _property(self, name):
    return self._wrap(self._raw.property(name))


def _set_property(self, name, value):
    return self._raw.setProperty(name, self._unwrap(value))


def _children(self):
    return tuple(self._wrap(child) for child in self._raw.children() if not child.objectName().startswith("qt_"))


BUILTINS = {
    "connect": _connect,
    "disconnect": _disconnect,
    "findChild": _find_child,
    "findChildren": _find_children,
    "className": _class_name,
    "property": _property,
    "setProperty": _set_property,
    "inherits": lambda self, name: inherits(self._raw, name),
    "children": _children,
    "delete": lambda self: shiboken6.delete(self._raw),
}
