"""Settings as JSON: frozen dataclasses, nested ones too, of what a file, its base and a command line say."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TypeVar

from MAPDiffLib.errors import InputError

Settings = TypeVar("Settings")


def from_values(kind: type[Settings], values: Mapping[str, object], what: str) -> Settings:
    """A dataclass whose fields all have defaults, of plain JSON values; what is not said keeps its default.

    Lists become tuples and the keys of objects numbers, where the defaults are. `what` names the whole in an error.
    InputError for names that do not exist and for values that do not fit.
    """
    if not isinstance(values, Mapping):
        raise InputError(f"{what} is {values!r}; an object of settings is needed")
    defaults = default_values(kind)
    if unknown := sorted(set(values) - set(defaults)):
        raise InputError(f"{what}: {unknown} are no settings of it; there are {', '.join(defaults)}")
    try:
        return kind(**{name: _like(defaults[name], value, f"{what}, {name}") for name, value in values.items()})
    except (TypeError, ValueError) as error:
        raise error if isinstance(error, InputError) else InputError(f"{what}: {error}") from None


def merged(kind: type, values: Mapping[str, object], changes: Mapping[str, object]) -> dict[str, object]:
    """`values` with `changes` for a dataclass: of a nested one only the settings that change, anything else whole."""
    result = dict(values)
    for name, change in changes.items():
        default = default_values(kind).get(name)
        if dataclasses.is_dataclass(default) and isinstance(result.get(name), Mapping) and isinstance(change, Mapping):
            change = merged(type(default), result[name], change)
        result[name] = change
    return result


def default_values(kind: type) -> dict[str, object]:
    """Name -> default of each field, in the order of their declaration."""
    defaults = kind()
    return {field.name: getattr(defaults, field.name) for field in dataclasses.fields(kind)}


def _like(default: object, value: object, what: str) -> object:
    if dataclasses.is_dataclass(default):
        return from_values(type(default), value, what)
    if isinstance(default, tuple):
        return tuple(value)
    return {float(key): share for key, share in dict(value).items()} if isinstance(default, dict) else value
