"""What a value of somebody's JSON must be: each check returns the value, or raises BundleError with its place, the
value seen and the rule."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from MAPDiffLib.errors import BundleError


def check_keys(what: str, content: Mapping, needed: set[str], optional: set[str] = frozenset()) -> None:
    """All keys that are needed, and none that is unknown."""
    if missing := sorted(needed - set(content)):
        raise BundleError(f"{what} lacks {missing}")
    if unknown := sorted(set(content) - needed - optional):
        raise BundleError(f"{what} has unknown keys {unknown}; known are {sorted(needed | optional)}")


def built(what: str, kind: type, config: Mapping):
    """`kind(**config)`, with what its own checks say."""
    try:
        return kind(**config)
    except (TypeError, ValueError) as error:
        raise BundleError(f"{what}: {error}") from error


def mapping(content: Mapping, key: str) -> Mapping:
    """The object under `key`."""
    if not isinstance(content.get(key), dict):
        raise BundleError(f"{key} is {content.get(key)!r}; an object is needed")
    return content[key]


def text(content: Mapping, key: str) -> str:
    """The text under `key`, not empty."""
    if not isinstance(content[key], str) or not content[key].strip():
        raise BundleError(f"{key} is {content[key]!r}; a text is needed")
    return content[key]


def items(what: str, value: object, most: int, of: str = "") -> list:
    """A list of 1 to `most`."""
    if not isinstance(value, list) or not 1 <= len(value) <= most:
        raise BundleError(f"{what} is {value!r}; a list of 1 to {most}{of} is needed")
    return value


def whole(what: str, value: object, low: int, high: int) -> int:
    """A whole number within the bounds."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise BundleError(f"{what} is {value!r}; a whole number from {low} to {high} is needed")
    return value


def number(what: str, value: object, low: float, high: float) -> float:
    """A number within the bounds; nan is in none."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not low <= value <= high:
        raise BundleError(f"{what} is {value!r}; a number from {low:g} to {high:g} is needed")
    return value


def numbers(what: str, values: object, low: float, high: float) -> tuple:
    """1 to 100 numbers within the bounds."""
    return tuple(number(what, value, low, high) for value in items(what, values, 100, " numbers"))


def so_many(what: str, values: object, count: int, low: float, high: float, each: str = "") -> tuple:
    """That many numbers within the bounds; `each`: what each of them is for."""
    found = numbers(what, values, low, high)
    if len(found) != count:
        raise BundleError(f"{what} has {len(found)} numbers; {count} are needed{each}")
    return found


def rising(what: str, values: object, low: float, high: float) -> tuple:
    """Numbers within the bounds, each larger than the one before it."""
    found = numbers(what, values, low, high)
    if any(a >= b for a, b in pairwise(found)):
        raise BundleError(f"{what} are {values}; they must rise")
    return found
