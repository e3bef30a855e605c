"""Lengths in the headers of volume files: which unit they are in, and what makes millimetres of them."""

from __future__ import annotations

import re
from pathlib import Path

from MAPDiffLib.errors import InputError

MM = {
    "": 1.0, "?": 1.0, "unknown": 1.0, "mm": 1.0, "millimeter": 1.0, "millimetre": 1.0, "cm": 10.0, "centimeter": 10.0,
    "centimetre": 10.0, "m": 1000.0, "meter": 1000.0, "metre": 1000.0, "um": 1e-3, "\u00b5m": 1e-3, "\u03bcm": 1e-3,
    "micron": 1e-3, "micrometer": 1e-3, "micrometre": 1e-3,
}  # fmt: skip


def to_mm(texts: list[str], path: Path) -> float:
    """What lengths in these units (one an axis, or one for all) are multiplied by to give mm; 1 where none is said.

    InputError for a unit that is no length, or for several at once.
    """
    factors = {}
    for text in texts:
        unit = _utf8(text).strip().lower()
        factor = MM.get(unit) or MM.get(unit.removesuffix("s"))
        if factor is None:
            raise InputError(
                f"{path} gives its lengths in {unit!r}: mm, cm, m or um is needed. Convert the scan again with its "
                "voxel size in mm."
            )
        factors[unit or "?"] = factor
    if len(set(factors.values())) > 1:
        raise InputError(
            f"{path} gives its lengths in {' and '.join(sorted(factors))} at once: one unit for all axes is needed. "
            "Convert the scan again with its voxel size in mm."
        )
    return next(iter(factors.values()), 1.0)


def nrrd_to_mm(fields: dict[str, str], path: Path) -> float:
    """The same for the fields of an NRRD header: its space units, or the units of its axes."""
    return to_mm(re.findall(r'"([^"]*)"', fields.get("spaceunits") or fields.get("units", "")), path)


def converted(unit_mm: float) -> str:
    """The sentence that a user gets for a scan whose lengths were converted."""
    return f"The file's lengths are in units of {unit_mm:g} mm; its voxel size and position were converted to mm."


def _utf8(text: str) -> str:
    """Headers are read as Latin-1; a micro sign is often in UTF-8."""
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text
