"""Plain values on their way between Python and Qt: what a QVariant keeps of them."""

from __future__ import annotations

import enum

from .enums import EnumNumber

PLAIN = (type(None), bool, int, float, str, bytes)


def wrap_plain(value, wrap, wrap_value):
    """Qt to Python: enums are numbers, lists are tuples, Qt's value classes get a facade, all else stays."""
    if isinstance(value, enum.Enum):
        return EnumNumber(value)
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, (list, tuple)):
        return tuple(wrap(item) for item in value)
    if isinstance(value, dict):
        return {key: wrap(item) for key, item in value.items()}
    return wrap_value(value) if type(value).__module__.startswith("PySide6") else value


def unwrap_plain(value, unwrap):
    """Python to Qt: a dict's keys become strings (QVariantMap), sequences lists; functions report their exceptions."""
    if isinstance(value, EnumNumber):
        return value.member
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, (list, tuple)):
        return [unwrap(item) for item in value]
    if isinstance(value, dict):
        return {str(key): unwrap(item) for key, item in value.items()}
    return value


def converted(value, kind: str):
    """`value` for a property of C++ type `kind`; TypeError when PythonQt would refuse or quietly change it."""
    accepts = {"bool": (bool, int), "int": (int, float), "double": (int, float), "QString": (str,)}.get(kind)
    if kind == "QStringList":
        if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
            raise TypeError(kind)
        return list(value)
    if accepts is None:
        return value
    if not isinstance(value, accepts):
        raise TypeError(kind)
    return {"bool": bool, "int": int, "double": float}.get(kind, str)(value)
