"""NRRD files to and from an array, piece by piece: a 16 MB volume takes 100 ms to unpack, too long for one go.

Knows neither Slicer nor Qt. Geometry is written for the worker to read; on the way back only the voxels are needed,
for the result takes its geometry from the scan's own node, bit by bit.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np

PIECE_BYTES = 1 << 18  # 2 ms of unpacking
TYPES = {"float": "f4", "double": "f8", "short": "i2", "int16": "i2", "ushort": "u2", "uint16": "u2"}


class VolumeFileError(ValueError):
    """A file that is not what the worker writes."""


def writeNrrd(path: str, voxels: np.ndarray, ijkToLps: Sequence[Sequence[float]], units: str) -> Iterator[None]:
    """Writes voxels [z, y, x] of any number type as float32; yields between pieces.

    ijkToLps: 4 x 4, LPS millimetres. The file appears whole or not at all. OSError as of the file system.
    """
    z, y, x = voxels.shape
    columns = [[ijkToLps[row][column] for row in range(3)] for column in range(4)]
    vectors = ["(" + ",".join(repr(float(value)) for value in column) + ")" for column in columns]
    header = [
        "NRRD0004", "type: float", "dimension: 3", "space: left-posterior-superior", f"sizes: {x} {y} {z}",
        "space directions: " + " ".join(vectors[:3]), "kinds: domain domain domain", "endian: little",
        "encoding: raw", "space origin: " + vectors[3], f"units:={units or 'unknown'}", "", "",
    ]  # fmt: skip
    partial = path + ".partial"
    try:
        with open(partial, "wb") as file:
            file.write("\n".join(header).encode("ascii"))
            rows = max(1, PIECE_BYTES // max(1, 4 * x * y))
            for first in range(0, z, rows):
                file.write(np.ascontiguousarray(voxels[first : first + rows], "<f4").data)
                yield
        os.replace(partial, path)
    finally:
        if os.path.exists(partial):
            os.unlink(partial)


def readNrrd(path: str, makeArray: Callable[[tuple[int, int, int]], np.ndarray]) -> Iterator[None]:
    """Fills makeArray((z, y, x)), a C-ordered float32 array, with the file's voxels; yields between pieces.

    Reads what the worker writes: one 3-D volume, raw or gzip, in the file itself. VolumeFileError for anything else,
    also when the file holds fewer or more voxels than its header says.
    """
    with open(path, "rb") as file:
        fields = _header(file, path)
        sizes = [int(part) for part in fields.get("sizes", "").split()]
        kind = TYPES.get(fields.get("type", ""))
        if len(sizes) != 3 or kind is None:
            raise VolumeFileError(f"{path} is not a scalar 3-D volume")
        kind = np.dtype((">" if fields.get("endian") == "big" else "<") + kind)
        array = makeArray((sizes[2], sizes[1], sizes[0]))
        flat, filled, rest = array.reshape(-1), 0, b""
        for piece in _pieces(file, fields.get("encoding", "")):
            piece = rest + piece
            whole = len(piece) // kind.itemsize
            if filled + whole > flat.size:
                raise VolumeFileError(f"{path} holds more voxels than its header says")
            flat[filled : filled + whole] = np.frombuffer(piece, kind, whole)
            filled, rest = filled + whole, piece[whole * kind.itemsize :]
            yield
        if filled != flat.size or rest:
            raise VolumeFileError(f"{path} ends early: {filled} voxels of {flat.size}")


def _header(file, path: str) -> dict[str, str]:
    if not file.readline(100).startswith(b"NRRD"):
        raise VolumeFileError(f"{path} is not an NRRD file")
    fields = {}
    for line in iter(lambda: file.readline(100_000), b""):
        text = line.decode("latin-1").rstrip("\r\n")
        if not text:
            return fields
        key, separator, value = text.partition(": ")
        if separator and not text.startswith("#"):
            fields[key.strip().lower()] = value.strip()
    raise VolumeFileError(f"{path} ends within its header")


def _pieces(file, encoding: str) -> Iterator[bytes]:
    if encoding == "raw":
        yield from iter(lambda: file.read(PIECE_BYTES), b"")
    elif encoding in ("gzip", "gz"):
        unpack = zlib.decompressobj(31)
        packed = file.read(PIECE_BYTES)
        while packed and not unpack.eof:
            try:
                yield unpack.decompress(packed, PIECE_BYTES)
            except zlib.error as error:
                raise VolumeFileError(f"the packed voxels are damaged: {error}") from error
            packed = unpack.unconsumed_tail or file.read(PIECE_BYTES)
        yield unpack.flush()
    else:
        raise VolumeFileError(f"the encoding {encoding!r} is not read")
