"""--set NAME=VALUE: settings of a training as a person types them, without quotes for the shell."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

from MAPDiffLib.errors import InputError
from training.settings import default_values, merged

KINDS = {int: "a whole number", float: "a number", str: "a word", tuple: "a list as [1,2]", dict: "an object as {...}"}


def parse_changes(config: type, texts: Sequence[str]) -> dict:
    """["batch=4", "variety.zoomed=0"] -> {"batch": 4, "variety": {"zoomed": 0}}, for a config's dataclass.

    A value is JSON, or as it stands where the setting is a word. InputError for a name that the config lacks and for a
    value of another kind than the setting's default.
    """
    known = _known(config)
    changes = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or name not in known:
            raise InputError(f"--set {text}: NAME=VALUE is needed, with a NAME of {', '.join(known)}")
        outer, _, inner = name.partition(".")
        value = _value(text, value, known[name])
        changes = merged(config, changes, {outer: {inner: value} if inner else value})
    return changes


def _known(config: type) -> dict[str, object]:
    """The default of each setting by the name that is typed: batch, and network.blocks of a nested one."""
    known = default_values(config)
    for outer, default in list(known.items()):
        if dataclasses.is_dataclass(default):
            known |= {f"{outer}.{inner}": value for inner, value in default_values(type(default)).items()}
    return known


def _value(text: str, value: str, default: object) -> object:
    kind = dict if dataclasses.is_dataclass(default) else type(default)
    try:
        parsed = json.loads(value)
    except json.JSONDecodeError:
        parsed = value
    if kind is str:
        return parsed if isinstance(parsed, str) else value
    fits = {float: (int, float), tuple: (list,)}.get(kind, (kind,))
    if kind in KINDS and (isinstance(parsed, bool) or not isinstance(parsed, fits)):
        raise InputError(f"--set {text}: {KINDS[kind]} is needed")
    return parsed
