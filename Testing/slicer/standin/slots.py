"""Signals and slots as PythonQt shows them, and what becomes of an exception in a slot: printed, never raised.

Arguments: PythonQt passes a plain function as many as it has parameters (defaults counted), anything else all of them.
"""

from __future__ import annotations

import inspect
import sys
import time
import traceback

from .tables import Signal

errors: list[str] = []  # tracebacks of slots and observers; a test that leaves one here has failed
times: list[tuple[float, str]] = []  # seconds of each slot and its name: how long the main thread was held
clock = time.perf_counter  # that they are told by: wall clock


def record_exception(kind, error, trace):
    """A sys.excepthook that remembers: VTK and Qt both end here when Python code of theirs raises."""
    errors.append("".join(traceback.format_exception(kind, error, trace)))
    sys.__excepthook__(kind, error, trace)


def accepted_arguments(target) -> int | None:
    """How many arguments PythonQt passes at most; None for all."""
    function = target.__func__ if inspect.ismethod(target) else target
    if not inspect.isfunction(function) or function.__code__.co_flags & inspect.CO_VARARGS:
        return None
    return function.__code__.co_argcount - inspect.ismethod(target)


# PySide6 passes as many arguments as a function names, and none of those with a default to *arguments.
WITH_ARGUMENTS = [
    lambda receive: lambda: receive(),
    lambda receive: lambda first: receive(first),
    lambda receive: lambda first, second: receive(first, second),
    lambda receive: lambda first, second, third: receive(first, second, third),
    lambda receive: lambda first, second, third, fourth: receive(first, second, third, fourth),
]


def receiver(target, count: int, wrap):
    """What Qt is connected with for a Python slot: wraps, trims, and keeps exceptions from Qt."""
    most = accepted_arguments(target)
    passed = count if most is None else min(most, count)

    def receive(*arguments):
        began = clock()
        try:
            target(*(wrap(argument) for argument in arguments[:passed]))
        except Exception:
            record_exception(*sys.exc_info())
        finally:
            times.append((clock() - began, getattr(target, "__qualname__", repr(target))))

    return WITH_ARGUMENTS[count](receive)


def same_type(wanted: str, given: str) -> bool:
    """Whether a C++ type of the table is the one that the PySide6 signal declares; VTK objects are PyObject there."""
    plain = given.replace("const", "").replace("&", "").strip()
    alike = {"double": "float", "qlonglong": "qint64"}
    if wanted.endswith("*") and plain == "PyObject":
        return True
    return plain in (wanted, alike.get(wanted, wanted), "QVariant")


def raw_signal(raw, signal: Signal):
    """The PySide6 signal that carries `signal`, whose arguments come first; NotImplementedError when there is none."""
    meta = raw.metaObject()
    methods = [meta.method(index) for index in range(meta.methodCount())]
    found = [method for method in methods if method.methodType().name == "Signal" and method.name() == signal.name]
    for method in sorted(found, key=lambda method: method.parameterCount()):
        types = [bytes(name).decode() for name in method.parameterTypes()]
        if len(types) >= len(signal.types) and all(map(same_type, signal.types, types)):
            bound = getattr(raw, signal.name)
            distinct = {tuple(map(bytes, other.parameterTypes())) for other in found if other.parameterCount()}
            return bound if len(distinct) < 2 else bound[tuple(python_type(name) for name in types)]
    text = f"{signal.name}({','.join(signal.types)})"
    raise NotImplementedError(f"the stand-in has no signal {text}; it may be one of Qt 5 only")


def python_type(name: str) -> type | str:
    """What PySide6 calls an argument type when it tells overloaded signals apart."""
    return {"bool": bool, "int": int, "double": float, "QString": str, "PyObject": object}.get(name, name)


class SignalAttribute:
    """widget.clicked: connect, disconnect, emit; calling it emits too."""

    def __init__(self, owner, signal: Signal):
        self._owner, self._signal = owner, signal

    def _text(self):
        return f"{self._signal.name}({','.join(self._signal.types)})"

    def connect(self, target):
        return self._owner.connect(self._text(), target)

    def disconnect(self, target):
        return self._owner.disconnect(self._text(), target)

    def emit(self, *arguments):
        self(*arguments)

    def __call__(self, *arguments):
        raw_signal(self._owner._raw, self._signal).emit(*(getattr(each, "_raw", each) for each in arguments))
