"""What a NIfTI file says that SimpleITK lets pass: its end, its byte offset, its slope, two voxel sizes, a shear, NaN.

NIfTI-1 (nifti.nimh.nih.gov). SimpleITK reads the missing end of a file, and every voxel that is not finite, as
zero; it takes the voxel size from pixdim and the axes from the sform without comparing them.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from MAPDiffLib.errors import InputError

SIZE, SIZE_2 = 348, 540  # bytes of the header of NIfTI-1, and of NIfTI-2, which SimpleITK does not read
PIXDIM, UNITS, FORMS = slice(76, 92), slice(123, 124), slice(252, 328)
GEOMETRY = "4f1B2h18f"  # pixdim 0..3, xyzt_units, qform and sform codes, quaternion, offsets, three rows
FLOATS = {16: "f4", 64: "f8"}
MM_OF_UNITS = {1: 1000.0, 2: 1.0, 3: 1e-3}  # xyzt_units: metres, millimetres, microns
SCANNER = 1  # the form code of the scanner's own axes
SAME_SIZE = 0.01  # what pixdim and sform may differ by: more than float32 rounds
BLOCK = 1 << 22


@dataclass(frozen=True)
class NiftiHeader:
    """The fields that matter here; `rows`: the sform, 3 x 4, in the file's own unit of length."""

    order: str
    dims: tuple[int, ...]
    kind: int
    bits: int
    pixdim: tuple[float, ...]
    offset: float
    slope: float
    intercept: float
    units: int
    codes: tuple[int, int]  # qform, sform
    rows: np.ndarray
    packed: bytes  # GEOMETRY, little-endian

    @property
    def unit_mm(self) -> float:
        """The unit of length in mm; files that do not say it are in mm."""
        return MM_OF_UNITS.get(self.units & 7, 1.0)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size (x, y, z)."""
        return tuple(abs(value) * self.unit_mm for value in self.pixdim[1:4])

    @property
    def axes(self) -> np.ndarray | None:
        """The sform's 3 x 3 where it, not the qform, says how the voxels lie; else None."""
        qform, sform = self.codes
        return self.rows[:, :3] if sform > 0 and (qform <= 0 or sform == SCANNER) else None


def parse_nifti(header: bytes) -> NiftiHeader | None:
    """The header in the first 348 bytes of a file; None for what is no NIfTI-1."""
    for order in "<>":
        if header[:4] == struct.pack(order + "i", SIZE) and len(header) >= SIZE:
            values = struct.unpack(order + GEOMETRY, header[PIXDIM] + header[UNITS] + header[FORMS])
            kind, bits = struct.unpack(order + "2h", header[70:74])
            return NiftiHeader(
                order, struct.unpack(order + "8h", header[40:56]), kind, bits, values[:4],
                *struct.unpack(order + "3f", header[108:120]), values[4], values[5:7],
                np.reshape(values[13:25], (3, 4)), struct.pack("<" + GEOMETRY, *values),
            )  # fmt: skip
    return None


def check_nifti(path: Path) -> NiftiHeader | None:
    """Checks header and length and returns the header; None for no NIfTI, which SimpleITK says. InputError."""
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else path.open("rb") as file:
            header = file.read(SIZE)
            if header[:4] in (struct.pack("<i", SIZE_2), struct.pack(">i", SIZE_2)):
                raise InputError(f"{path} is NIfTI-2, which is not read: convert it to NIfTI-1.")
            found = parse_nifti(header)
            if found is not None:
                _check_numbers(found, path)
            file.seek(0)
            _check_voxels(file, found, path)
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise InputError(
            f"{path} ends early (its gzip stream is cut short or damaged): copy or download it again."
        ) from None
    return found


def shear_mm(header: NiftiHeader) -> float:
    """How far the voxels lie at most, at the corners, from the nearest grid with right angles, which is returned."""
    if header.axes is None:
        return 0.0
    axes, extent = header.axes * header.unit_mm, np.maximum(np.array(header.dims[1:4]) - 1, 0)
    left, _, right = np.linalg.svd(axes / np.linalg.norm(axes, axis=0))
    corners = np.array(np.meshgrid(*((0, count) for count in extent))).reshape(3, -1)
    return float(np.linalg.norm((axes - (left @ right) * np.linalg.norm(axes, axis=0)) @ corners, axis=0).max())


def _check_numbers(header: NiftiHeader, path: Path) -> None:
    if not 0 <= header.offset < 1e9:
        raise InputError(f"{path} says that its voxels begin at byte {header.offset:g}: it is damaged. Copy it again.")
    if not (math.isfinite(header.slope) and math.isfinite(header.intercept)):
        raise InputError(
            f"{path} says slope {header.slope:g} and intercept {header.intercept:g} (scl_slope, scl_inter): finite "
            "numbers are needed. Export it again."
        )
    if header.axes is None or not all(map(math.isfinite, header.pixdim[1:4])):
        return  # a spacing that is no number is refused with all formats
    sizes = np.linalg.norm(header.axes, axis=0)
    pixdim = np.abs(header.pixdim[1:4])
    if not np.allclose(sizes, pixdim, rtol=SAME_SIZE, atol=0):  # nor where a number is infinite
        raise InputError(
            f"{path} says two voxel sizes: {_listed(pixdim)} by pixdim and {_listed(sizes)} by its sform (in units of "
            f"{header.unit_mm:g} mm). Which is right cannot be told from it: correct the header, or export it again."
        )
    if not 1e-6 < sizes.min() <= sizes.max() < 1e9:
        return  # no voxel size either, and no numbers to compute with
    off = shear_mm(header)
    if off > min(header.spacing_mm) / 2:
        raise InputError(
            f"{path}: its axes are not at right angles (a shear that moves the far corner by {off:.1f} mm): resample "
            "the scan onto a grid with right angles first."
        )


def _check_voxels(file, header: NiftiHeader | None, path: Path) -> None:
    """Reads to the end, which shows a damaged gzip stream; counts what is missing and what is not finite."""
    if header is None:
        while file.read(BLOCK):
            pass
        return
    count = math.prod(header.dims[1 : 1 + max(0, min(header.dims[0], 7))])
    kind = np.dtype(header.order + FLOATS[header.kind]) if header.kind in FLOATS else None
    length, seen, bad, first = len(file.read(int(header.offset))), 0, 0, None
    while block := file.read(BLOCK):
        length += len(block)
        if kind is not None and seen < count:
            values = np.frombuffer(block[: len(block) - len(block) % kind.itemsize], kind)[: count - seen]
            wrong = np.flatnonzero(~np.isfinite(values))
            if first is None and wrong.size:
                first = seen + int(wrong[0])
            seen, bad = seen + values.size, bad + wrong.size
    needed = int(header.offset) + count * header.bits // 8
    if length < needed:
        raise InputError(f"{path} ends early ({length} bytes of {needed}): copy or download it again.")
    if first is not None:
        raise InputError(not_finite(path, bad, np.unravel_index(first, header.dims[header.dims[0] : 0 : -1])))


def not_finite(name: object, count: int, where) -> str:
    """What a user hears of a scan in which `count` voxels are no numbers, the first at `where` (z, y, x)."""
    place = tuple(int(index) for index in where)
    return (
        f"{name} has {count} voxels that are not finite (NaN or infinite; the first at z, y, x = {place}): replace "
        "them, by 0 if they lie outside the body, or export the scan again."
    )


def _listed(values) -> str:
    return " x ".join(f"{value:.4g}" for value in values)
