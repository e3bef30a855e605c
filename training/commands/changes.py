"""--set NAME=VALUE: settings of a training as a person types them, without quotes for the shell."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

from MAPDiffLib.errors import InputError

KINDS = {
    bool: "true or false", int: "a whole number", float: "a number", str: "a word", tuple: "a list as [1,2]",
    dict: "an object as {...}",
}  # fmt: skip


def parse_changes(config: type, texts: Sequence[str]) -> dict:
    """["batch=4", "precision=bf16-mixed"] -> {"batch": 4, "precision": "bf16-mixed"}, for a config's dataclass.

    A value is JSON, or as it stands where the setting is a word. InputError for a name that the config lacks and for a
    value of another kind than the setting's default.
    """
    defaults = config()
    known = {field.name: getattr(defaults, field.name) for field in dataclasses.fields(config)}
    changes = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or name not in known:
            raise InputError(f"--set {text}: NAME=VALUE is needed, with a NAME of {', '.join(known)}")
        changes[name] = _value(text, value, known[name])
    return changes


def _value(text: str, value: str, default: object) -> object:
    kind = dict if dataclasses.is_dataclass(default) else type(default)
    try:
        parsed = json.loads(value)
    except json.JSONDecodeError:
        parsed = value
    if kind is str:
        return parsed if isinstance(parsed, str) else value
    fits = {float: (int, float), tuple: (list,)}.get(kind, (kind,))
    unlike = isinstance(parsed, bool) and kind is not bool
    if kind in KINDS and (unlike or not isinstance(parsed, fits)):
        raise InputError(f"--set {text}: {KINDS[kind]} is needed")
    return parsed
