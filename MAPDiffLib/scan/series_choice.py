"""Which of the planes in a folder are the PET series: the one PET series is taken, what is left out is said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

from MAPDiffLib.errors import InputError
from MAPDiffLib.scan.dicom_header import PET_CLASSES, Plane

MOST_LISTED = 8

Key = tuple[str, str]  # series instance UID and modality: anonymisers have given all series of a study one UID


def choose_series(planes: Sequence[Plane], folder: Path) -> tuple[list[Plane], list[str]]:
    """The planes of the one PET series among them, and a sentence on what is left out.

    InputError where there is no PET series or more than one.
    """
    series: dict[Key, list[Plane]] = {}
    for plane in planes:
        series.setdefault((plane.text("SeriesInstanceUID"), plane.text("Modality")), []).append(plane)
    pet = [found for (_, modality), found in series.items() if modality == "PT" and any(map(_is_image, found))]
    pet = [found for found in pet if any(plane.text("SOPClassUID") in PET_CLASSES for plane in found)] or pet
    if not pet:
        seen = _listed(series.values())
        raise InputError(f"{folder} holds {seen}, not PET (PT): give the folder of a PET series.")
    if len(pet) > 1:
        raise InputError(
            f"{folder} holds {len(pet)} PET series: {_listed(pet)}. Put the one to be restored in a folder of its own."
        )
    chosen = _alike(pet[0])
    kept = set(map(id, chosen))
    left = [rest for found in series.values() if (rest := [plane for plane in found if id(plane) not in kept])]
    if not left:
        return chosen, []
    return chosen, [f"Of the folder's files {_described(chosen)} is read. Left out: {_listed(left)}."]


def _alike(series: list[Plane]) -> list[Plane]:
    """The series' PET images, else those of the kind that most are: a screenshot filed under it is of another class."""
    images = [plane for plane in series if _is_image(plane)]
    kinds = Counter(plane.text("SOPClassUID") for plane in images)
    main = max(kinds, key=lambda kind: (kind in PET_CLASSES, kinds[kind]))
    return [plane for plane in images if plane.text("SOPClassUID") in (main, "")]


def _is_image(plane: Plane) -> bool:
    return bool(plane.text("Rows") and plane.text("Columns"))


def _listed(series: Collection[list[Plane]]) -> str:
    largest = sorted(series, key=len, reverse=True)
    rest = f" and {len(largest) - MOST_LISTED} more" if len(largest) > MOST_LISTED else ""
    return "; ".join(map(_described, largest[:MOST_LISTED])) + rest


def _described(series: list[Plane]) -> str:
    first = series[0]
    what = ("slice" if all(map(_is_image, series)) else "file") + "s"[: len(series) > 1]
    return (
        f'"{first.text("SeriesDescription")}" ({first.text("Modality") or "no modality"}, {len(series)} {what}, '
        f"{first.path.name}{'...' if len(series) > 1 else ''})"
    )
