"""From the positions of slices to the even grid that a volume needs: how far each slice lies from its place on it.

Gap by gap, small errors pass that add up, and a seam of two bed positions looks like a missing slice: what counts is
the distance of every slice from where the volume will say that it lies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from MAPDiffLib.errors import InputError
from MAPDiffLib.scan.dicom_header import Plane

SAME_PLACE_MM, FARTHEST_MM = 1e-3, 1e5
HOLE = 1.5  # gaps of the usual one
# Of the slice spacing; scanners with overlapping bed positions are irregular by a few per cent.
EVEN, TOLERATED = 0.1, 0.5
TOLERATED_MM = 2.0
ALIKE = 0.02  # of a gap: two gaps that mean the same spacing
SEVERAL = 0.1  # of all gaps


@dataclass(frozen=True)
class Axes:
    """Unit vectors along a slice's rows and columns and across it, in mm of the patient (LPS)."""

    row: np.ndarray
    column: np.ndarray
    normal: np.ndarray


class Grid(NamedTuple):
    """Spacing and origin in mm and 3 x 3 direction, row by row, as a Volume has them."""

    spacing_mm: tuple[float, float, float]
    origin_mm: tuple[float, ...]
    direction: tuple[float, ...]


def axes_of(plane: Plane) -> Axes:
    """The axes of a slice. InputError unless its orientation is two perpendicular unit vectors."""
    row, column = np.reshape(plane.numbers("ImageOrientationPatient", 6), (2, 3)) + 0.0
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if not (np.allclose(lengths, 1, atol=0.01) and abs(row @ column) < 0.01):
        raise InputError(
            f"{plane.path}: ImageOrientationPatient is {plane.text('ImageOrientationPatient')}, where two "
            "perpendicular vectors of length 1 are needed. Export the series again."
        )
    row = row / lengths[0]
    column = column - (column @ row) * row
    column = column / np.linalg.norm(column)
    return Axes(row, column, np.cross(row, column) + 0.0)


def sorted_planes(planes: Sequence[Plane]) -> tuple[list[Plane], np.ndarray]:
    """The planes in order along their normal, and their heights on it in mm."""
    normal = axes_of(planes[0]).normal
    heights = _positions(planes) @ normal
    order = np.argsort(heights, kind="stable")
    return [planes[index] for index in order], heights[order]


def even_grid(planes: Sequence[Plane], folder: Path) -> tuple[Grid, list[str]]:
    """The grid of sorted planes at different heights, and what a user should know of it.

    InputError for a hole, and for slices that lie further from the grid than half a slice or 2 mm.
    """
    axes, positions = axes_of(planes[0]), _positions(planes)
    heights = positions @ axes.normal
    spacing = (heights[-1] - heights[0]) / (len(planes) - 1)
    places = positions[0] + spacing * np.arange(len(planes))[:, None] * axes.normal
    offsets = np.linalg.norm(positions - places, axis=1)
    worst, gaps = int(np.argmax(offsets)), np.diff(heights)
    sideways = np.abs((positions - positions[0]) @ np.stack([axes.row, axes.column], axis=1)).max()
    rounded = _is_rounded(positions, gaps)
    _check_holes(planes, heights, gaps, rounded, folder)
    warnings = []
    if offsets[worst] > EVEN * spacing:
        if rounded:
            cause = "their positions are rounded to whole mm"
        elif sideways > 0.5 * offsets[worst]:
            cause = f"they shift by {sideways:.1f} mm sideways (a tilted scan)"
        else:
            cause = _cause(planes, heights, gaps)
        sentence = (
            f"The slices do not lie on an even grid of {spacing:.2f} mm, {planes[worst].name} by "
            f"{offsets[worst]:.1f} mm: {cause}."
        )
        if offsets[worst] > min(TOLERATED * spacing, TOLERATED_MM):
            raise InputError(f"{folder}: {sentence} Resample the series to one spacing first.")
        warnings.append(f"{sentence} They are taken as evenly spaced.")
    across = planes[0].numbers("PixelSpacing", 2)
    direction = np.stack([axes.row, axes.column, axes.normal], axis=1)
    return Grid((across[1], across[0], spacing), tuple(positions[0]), tuple(direction.ravel())), warnings


def _positions(planes: Sequence[Plane]) -> np.ndarray:
    positions = np.array([plane.numbers("ImagePositionPatient", 3) for plane in planes])
    far = np.abs(positions).max(axis=1)
    if far.max() > FARTHEST_MM:
        plane = planes[int(np.argmax(far))]
        raise InputError(
            f"{plane.path}: ImagePositionPatient is {plane.text('ImagePositionPatient')[:80]}, further away in mm than "
            "any scanner reaches. Export the series again."
        )
    return positions


def _check_holes(planes: Sequence[Plane], heights: np.ndarray, gaps: np.ndarray, rounded: bool, folder: Path) -> None:
    usual, where = float(np.median(gaps)), int(np.argmax(gaps))
    if gaps[where] > HOLE * usual and not rounded:
        raise InputError(
            f"{folder} has a gap of {gaps[where]:.2f} mm between slices that are {usual:.2f} mm apart (after "
            f"{planes[where].name} at {heights[where]:.2f} mm): a slice is missing, or bed positions do not meet. "
            "Copy the whole series again."
        )


def _is_rounded(positions: np.ndarray, gaps: np.ndarray) -> bool:
    """Whether whole mm were written for positions that were none: then two whole gaps take turns."""
    if not np.allclose(positions, np.rint(positions), rtol=0, atol=1e-6) or np.ptp(gaps) > 1.5:
        return False
    larger = float((gaps > gaps.mean()).mean())
    return SEVERAL <= larger <= 1 - SEVERAL and np.ptp(gaps) > 0.1


def _cause(planes: Sequence[Plane], heights: np.ndarray, gaps: np.ndarray) -> str:
    usual = float(np.median(gaps))
    odd = np.flatnonzero(np.abs(gaps - usual) > ALIKE * usual)
    if 0 < len(odd) <= SEVERAL * len(gaps):
        seams = ", ".join(
            f"after {planes[index].name} at {heights[index]:.1f} mm is a gap of {gaps[index]:.2f} mm"
            for index in odd[:4]
        )
        return f"slices {usual:.2f} mm apart have seams where overlapping bed positions meet ({seams})"
    for split in range(1, len(gaps)):
        before, after = gaps[:split], gaps[split:]
        if np.ptp(before) <= ALIKE * usual and np.ptp(after) <= ALIKE * usual:
            return (
                f"the series has two spacings, {before.mean():.2f} mm up to {planes[split].name} at "
                f"{heights[split]:.1f} mm and {after.mean():.2f} mm from there"
            )
    return f"neighbours are {gaps.min():.2f} to {gaps.max():.2f} mm apart"
