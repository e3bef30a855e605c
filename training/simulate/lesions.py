"""Lesions of a body that is rich in them: spheres, lobulated ones and real tumours, from barely visible to glaring.

What stands out of a low-dose scan is mostly noise; a network that has hardly met a small lesion learns to take one for
noise too. Half of these are under 13 mm, in every tissue, with contrasts down to what no reader would see.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy import ndimage

from MAPDiffLib.errors import InputError
from MAPDiffLib.scan.geometry import bounding_box
from MAPDiffLib.scan.volume import read_volume
from training.simulate.shapes import Grid, smooth_field

SMALL_MM, MIDDLE_MM, LARGE_MM = 5.0, 13.0, 37.0
TUMOUR_MM = (6.0, 20.0)  # real tumours are shrunk to this
CONTRAST = (1.3, 20.0)  # lesion over host
HIGHEST_SUV = 25.0
SHARES = {"sphere": 0.3, "lobulated": 0.4, "tumour": 0.3}


@dataclass(frozen=True)
class LesionPlan:
    """How many lesions a body gets (at least, at most). rich: as this file draws them, else as ordinary bodies have
    them; tumours: a folder of pet_*.nii.gz with mask_*.nii.gz beside each, for a rich body's real tumours."""

    number: tuple[int, int] = (0, 12)
    rich: bool = False
    tumours: Path | None = None


@dataclass(frozen=True)
class Shape:
    """A lesion's uptake relative to its mean inside, float32 [z, y, x] on a grid; 0 outside of it."""

    uptake: np.ndarray
    centre: tuple[int, int, int]


def draw_diameter_mm(rng: np.random.Generator, kind: str) -> float:
    """Half under 13 mm; even in the logarithm on either side, and for tumours over what they are shrunk to."""
    low, high = (SMALL_MM, MIDDLE_MM) if rng.random() < 0.5 else (MIDDLE_MM, LARGE_MM)
    low, high = TUMOUR_MM if kind == "tumour" else (low, high)
    return _even_in_logarithm(rng, low, high)


def draw_suv(rng: np.random.Generator, host_suv: float) -> float:
    """Of a lesion in a tissue of `host_suv`: its contrast even in the logarithm, never above HIGHEST_SUV."""
    return min(HIGHEST_SUV, host_suv * _even_in_logarithm(rng, *CONTRAST))


def draw_kind(rng: np.random.Generator, tumours: Path | None) -> str:
    """One of SHARES; without a folder of tumours the rest in their proportion."""
    kinds = [kind for kind in SHARES if tumours is not None or kind != "tumour"]
    shares = np.array([SHARES[kind] for kind in kinds])
    return kinds[rng.choice(len(kinds), p=shares / shares.sum())]


def draw_shape(
    rng: np.random.Generator, kind: str, diameter_mm: float, spacing_mm: Sequence[float], tumours: Path | None
) -> Shape:
    """A lesion of a kind and diameter on voxels (x, y, z) in mm."""
    if kind == "tumour":
        return _tumour(rng, diameter_mm, spacing_mm, tumours)
    spacing = np.array(spacing_mm[::-1])
    reach = np.ceil(0.8 * diameter_mm / spacing).astype(int) + 1
    axes = np.ogrid[tuple(slice(-r, r + 1) for r in reach)]
    stretch = np.exp(rng.normal(0, 0.15, 3)) if kind == "lobulated" else np.ones(3)
    radius = np.sqrt(sum((a * d / e) ** 2 for a, d, e in zip(axes, spacing, stretch, strict=True)))
    radius = radius / (0.5 * diameter_mm)
    if kind == "lobulated":
        bumps = smooth_field(rng, Grid(radius.shape, tuple(spacing_mm)), max(8.0, 0.5 * diameter_mm))
        radius = radius * (1 + 0.13 * np.clip(bumps, -1.5, 1.5))
    uptake = (radius < 1).astype(np.float32)
    uptake[tuple(reach)] = 1.0
    if diameter_mm > 20 and kind == "lobulated" and rng.random() < 0.35:
        uptake[radius < 0.55] = 0.3  # a cold core
    return Shape(uptake, tuple(int(r) for r in reach))


def _tumour(rng: np.random.Generator, diameter_mm: float, spacing_mm: Sequence[float], folder: Path) -> Shape:
    """A real tumour, turned by quarters, mirrored and shrunk to a diameter; its uptake over its mean."""
    files = tumour_files(folder)
    uptake, own_mm = _read_tumour(files[rng.integers(len(files))])
    turns = int(rng.integers(4))
    uptake = np.rot90(uptake, turns, axes=(1, 2))
    own_mm = own_mm if turns % 2 == 0 else own_mm[[0, 2, 1]]
    for axis in range(3):
        uptake = np.flip(uptake, axis) if rng.random() < 0.5 else uptake
    volume_mm3 = np.count_nonzero(uptake) * np.prod(own_mm)
    shrink = diameter_mm / (6 / np.pi * volume_mm3) ** (1 / 3)
    factors = own_mm * shrink / np.array(spacing_mm[::-1])
    wide = np.pad(uptake, 2)
    small = ndimage.gaussian_filter(wide, 0.4 / np.minimum(1.0, factors) - 0.4)
    small = ndimage.zoom(small, factors, order=1, grid_mode=True, mode="grid-constant")
    share = ndimage.zoom((wide > 0).astype(np.float32), factors, order=1, grid_mode=True, mode="grid-constant")
    inside = share >= min(0.5, 0.999 * share.max())
    mean = float(small[inside].mean())
    small = np.where(inside, np.clip(small / mean, 0.1, 4.0), 0).astype(np.float32)
    centre = np.argwhere(inside).mean(axis=0)
    return Shape(small, tuple(int(round(c)) for c in centre))


def tumour_files(folder: Path) -> list[Path]:
    """The pet_*.nii.gz of a folder, sorted. InputError when there is none."""
    files = sorted(Path(folder).glob("pet_*.nii.gz"))
    if not files:
        raise InputError(f"{folder}: no pet_*.nii.gz; a folder of tumours holds them with a mask_*.nii.gz beside each")
    return files


@lru_cache(maxsize=64)
def _read_tumour(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """(uptake inside the tumour's mask, cropped to it, [z, y, x]; voxels (z, y, x) in mm). Warns once of each kind."""
    scan, mask = read_volume(file), read_volume(file.with_name(file.name.replace("pet_", "mask_"))).voxels > 0
    for kind in {sentence.partition(":")[0] for sentence in scan.warnings}:  # without its figures: once for all files
        warnings.warn(f"a tumour in {file.parent}: {kind}", stacklevel=1)
    box = bounding_box(mask)
    uptake = np.where(mask, np.maximum(scan.voxels, 1e-3), 0).astype(np.float32)[box]
    return uptake, np.array(scan.spacing_mm[::-1])


def placed(shape: Shape, centre: Sequence[int], grid: Sequence[int]) -> tuple[tuple[slice, ...], np.ndarray]:
    """(the box of the grid [z, y, x] that a shape covers when its centre lies there, its uptake in that box)."""
    box, part = [], []
    for middle, own, length, size in zip(centre, shape.centre, shape.uptake.shape, grid, strict=True):
        start = int(middle) - own
        low, high = max(0, start), min(size, start + length)
        box.append(slice(low, high))
        part.append(slice(low - start, high - start))
    return tuple(box), shape.uptake[tuple(part)]


def _even_in_logarithm(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
