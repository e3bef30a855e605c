"""Qt objects as PythonQt shows them, over PySide6 ones: properties are attributes, unknown names are refused.

A facade holds its PySide6 object in `_raw`, which knows its facade in turn: the same widget is the same Python object.
Members are looked up in the tables of the real classes; classes without one go by PySide6's meta-object.
"""

from __future__ import annotations

import sys
import types
import weakref

import shiboken6
from PySide6 import QtCore, QtWidgets

from .enums import find_enum
from .members import Slot, builtin, find_member, read_property, write_property
from .slots import SignalAttribute, record_exception
from .values import unwrap_plain, wrap_plain

_facades: dict[type, type] = {}  # PySide6 class -> facade class
static_functions: dict[tuple[str, str], object] = {}  # what to call instead of PySide6's


class FacadeClass(type):
    """What `qt.QMessageBox.Yes` and `qt.QTimer.singleShot` find: enums, static functions, unbound slots."""

    def __getattr__(cls, name):
        if name.startswith("__") or cls._raw_class is None:
            raise AttributeError(name)
        number = find_enum(cls._raw_class, name)
        if number is not None:
            return number
        special = next(
            (
                static_functions[key]
                for key in ((base._name, name) for base in facade_bases(cls))
                if key in static_functions
            ),
            None,
        )
        if special is not None:
            return Unbound(cls, name, special)
        member = find_member(cls._name, cls._raw_class, name)
        if member is None or member.kind != "method":
            raise AttributeError(f"type object '{cls._name}' has no attribute '{name}'")
        return Unbound(cls, name, getattr(cls._raw_class, member.name))


def facade_bases(cls):
    return [base for base in cls.__mro__ if isinstance(base, FacadeClass) and base._raw_class is not None]


class Unbound:
    """A static or not yet bound slot."""

    def __init__(self, owner, name, function):
        self._owner, self._name, self._function = owner, name, function

    def __call__(self, *arguments):
        return call(self._function, self._name, arguments)

    def __repr__(self):
        name = self._owner._name
        return f"<unbound qt slot static_{name}_{self._name} of {name} type>"


class Instance(metaclass=FacadeClass):
    """Base of all facades. Python subclasses may have attributes of their own, C++ classes themselves may not."""

    _raw_class: type | None = None
    _name = "QObject"

    def __init__(self, *arguments):
        raw_class = overriding(type(self))
        bind(call_raw(raw_class, self._name, arguments), self)

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(f"{self._name} has no attribute named '{name}'")
        raw = self.__dict__.get("_raw")
        if raw is None:
            raise AttributeError(f"{name}: the base class's __init__ was not called")
        function = builtin(name) if isinstance(raw, QtCore.QObject) else None
        if function:
            return types.MethodType(function, self)
        member = find_member(self._name, self._raw_class, name)
        if member is None:
            raise AttributeError(f"{self._name} has no attribute named '{name}'")
        if not shiboken6.isValid(raw):
            raise ValueError(f"Trying to call or access '{name}' on a destroyed {self._name} object")
        if member.kind == "property":
            return wrap(read_property(raw, member.name))
        if member.kind == "signal":
            return SignalAttribute(self, member.signal)
        if member.kind == "enum":
            return find_enum(self._raw_class, member.name)
        return Slot(self, member.name)

    def __setattr__(self, name, value):
        raw = self.__dict__.get("_raw")
        member = find_member(self._name, self._raw_class, name) if raw is not None else None
        if member is None:
            if type(self) in _facades.values() and name != "_raw":
                raise AttributeError(
                    f"'{name}' does not exist on {self._name} and creating new attributes on C++ objects is not allowed"
                )
            object.__setattr__(self, name, value)
        elif member.kind != "property":
            kind = {"method": "Slot", "signal": "Signal", "enum": "EnumValue"}[member.kind]
            raise AttributeError(f"{kind} '{name}' can not be overwritten on {self._name} object")
        elif not shiboken6.isValid(raw):
            raise AttributeError(f"Trying to set property '{name}' on a destroyed {self._name} object")
        elif not member.type:
            raise AttributeError(f"Property '{name}' of {self._name} object is not writable")
        else:
            write_property(raw, self._name, member, unwrap(value))

    # For members.py; static, so that a connection does not keep the object.

    @staticmethod
    def _wrap(value):
        return wrap(value)

    @staticmethod
    def _unwrap(value):
        return unwrap(value)

    @staticmethod
    def _call(function, name, arguments):
        return call(function, name, arguments)

    def __bool__(self):
        return shiboken6.isValid(self._raw)

    def __eq__(self, other):
        if not isinstance(other, Instance):
            return NotImplemented
        same = self._raw is other._raw
        return same if isinstance(self._raw, QtCore.QObject) else same or self._raw == other._raw

    def __hash__(self):
        return id(self._raw) if isinstance(self._raw, QtCore.QObject) else hash(self._raw)

    def __repr__(self):
        address = shiboken6.getCppPointer(self._raw)[0]
        if isinstance(self._raw, QtWidgets.QWidget):
            return f"{self._name}({address:#x}) "
        return f"{self._name} ({self._name} at: {address:#x})"


def bind(raw, facade):
    object.__setattr__(facade, "_raw", raw)
    if isinstance(raw, QtCore.QObject):
        raw._facade = weakref.ref(facade) if type(facade) in _facades.values() else lambda: facade
    return facade


def facade_of(raw):
    """The facade that an object has already. A C++ class's is not kept alive by it: what has no parent and is held by
    nobody in Python is gone at once, as in PythonQt; an object of a Python subclass stays with its C++ object."""
    return raw._facade() if hasattr(raw, "_facade") else None


def facade_class(raw_class: type) -> type:
    """The class that Python sees for a PySide6 class, made on first use; ctk and qMRML ones are no qt.QWidget."""
    if raw_class not in _facades:
        native = raw_class.__module__.startswith("PySide6")
        parents = [base for base in raw_class.__mro__[1:2] if native and base.__module__.startswith("PySide6")]
        base = facade_class(parents[0]) if parents else Instance
        _facades[raw_class] = FacadeClass(
            raw_class.__name__, (base,), {"_raw_class": raw_class, "_name": raw_class.__name__, "__doc__": None}
        )
    return _facades[raw_class]


def wrap(value):
    """What Python gets for a PySide6 value: facades, numbers for enums, tuples for lists."""
    if isinstance(value, QtCore.QObject):
        facade = facade_of(value)
        if facade is not None:
            return facade
        ours = ("PySide6", __package__)
        known = next(base for base in type(value).__mro__ if base in _facades or base.__module__.startswith(ours))
        return bind(value, object.__new__(facade_class(known)))
    return wrap_plain(value, wrap, lambda raw: bind(raw, object.__new__(facade_class(type(raw)))))


def unwrap(value):
    """What PySide6 gets for a Python value."""
    return value._raw if isinstance(value, Instance) else unwrap_plain(value, unwrap)


def call_raw(function, name, arguments):
    try:
        return function(*map(unwrap, arguments))
    except (TypeError, ValueError, OverflowError) as error:
        if type(error) is ValueError and error.__traceback__.tb_next:
            raise
        raise ValueError(f"Called {name} with wrong arguments: {arguments!r} ({error})") from error
    except RuntimeError as error:
        raise ValueError(f"Trying to call '{name}' on a destroyed object ({error})") from error


def call(function, name, arguments):
    return wrap(call_raw(function, name, arguments))


def overriding(cls: type) -> type:
    """The PySide6 class to create for a facade class; for a Python subclass, one whose virtuals call it."""
    if cls in _facades.values():
        return cls._raw_class
    known = next(base for base in cls.__mro__ if base in _facades.values())
    own = {}
    for base in cls.__mro__[: cls.__mro__.index(known)]:
        own |= {key: None for key, found in vars(base).items() if isinstance(found, types.FunctionType)}
    raw_class = known._raw_class
    virtuals = {key: _forward(raw_class, key) for key in own if not key.startswith("_") and hasattr(raw_class, key)}
    return type(cls.__name__, (raw_class,), virtuals | {"__module__": cls.__module__})


def _forward(raw_class, name):
    def forward(raw, *arguments):
        facade = facade_of(raw)
        if facade is None:
            return getattr(raw_class, name)(raw, *arguments)
        try:
            return unwrap(getattr(facade, name)(*map(wrap, arguments)))
        except Exception:
            record_exception(*sys.exc_info())
            return getattr(raw_class, name)(raw, *arguments)

    return forward
