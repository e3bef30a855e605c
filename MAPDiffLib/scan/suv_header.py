"""Numbers and private elements of a PET header, for SUV: with the attribute's name where they are no such thing."""

from __future__ import annotations

import math
from typing import Any

from MAPDiffLib.errors import InputError

Dataset = Any  # a pydicom.Dataset, which is imported late
Place = tuple[int, str, int]  # group, private creator, offset in its block
GE, PHILIPS = "GEMS_PETD_01", "Philips PET Private Group"
GE_SCAN_DATETIME: Place = (0x0009, GE, 0x0D)
PHILIPS_SUV_FACTOR: Place = (0x7053, PHILIPS, 0x00)
PHILIPS_BQML_FACTOR: Place = (0x7053, PHILIPS, 0x09)


def number(data: Dataset, name: str, low: float, high: float, unit: str) -> float:
    """The attribute as a number. InputError where it is missing, no number, or not from `low` to `high`."""
    value = data.get(name)
    if value is None or value == "":
        raise InputError(f"SUV: {name} is missing.")
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = math.nan
    if not low <= found <= high:
        raise InputError(f"SUV: {name} is {value}; {low:g} to {high:g} {unit} is needed.")
    return found


def private_element(data: Dataset, place: Place) -> Any:
    """The element at a group, private creator and offset, as a pydicom.DataElement; None where it is not there."""
    group, creator, element = place
    try:
        return data.private_block(group, creator)[element]
    except KeyError:
        return None


def private_text(data: Dataset, place: Place) -> str:
    """The text of a private element, "" where it is not there."""
    found = private_element(data, place)
    if found is None:
        return ""
    value = found.value
    return value.decode("ascii", "replace").strip(" \0") if isinstance(value, bytes) else str(value).strip()


def private_number(data: Dataset, place: Place) -> float:
    """A private factor; 0.0 where it is missing or no positive number, as Philips writes one that it does not know."""
    try:
        value = float(private_text(data, place) or 0)
    except ValueError:
        return 0.0
    return value if math.isfinite(value) and value > 0 else 0.0
