"""NRRD, MetaImage and NIfTI files of 4 x 3 x 2 voxels as their bytes, so that a test can put anything into a header."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np

VOXELS = bytes(4 * 3 * 2 * 4)
COUNTING = np.arange(24, dtype="<f4").reshape(4, 3, 2)
METRES, MM, MICRONS = 1, 2, 3


def nrrd(data=VOXELS, **changes) -> bytes:
    fields = {
        "type": "float", "dimension": "3", "space": "left-posterior-superior", "sizes": "2 3 4",
        "space directions": "(4,0,0) (0,4,0) (0,0,4)", "kinds": "domain domain domain", "endian": "little",
        "encoding": "raw", "space origin": "(0,0,0)",
    } | {name.replace("_", " "): value for name, value in changes.items()}  # fmt: skip
    lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return ("NRRD0004\n" + "\n".join(lines) + "\n\n").encode() + data


def mha(data=VOXELS, **changes) -> bytes:
    fields = {
        "ObjectType": "Image", "NDims": "3", "BinaryData": "True", "DimSize": "2 3 4", "ElementSpacing": "4 4 4",
        "ElementType": "MET_FLOAT",
    } | changes  # fmt: skip
    lines = [f"{name} = {value}" for name, value in fields.items() if value is not None]
    return ("\n".join(lines) + "\nElementDataFile = LOCAL\n").encode() + data


def nifti(
    data=VOXELS, size=348, dims=(3, 2, 3, 4, 1, 1, 1, 1), kind=16, bits=32, spacing=(4, 4, 4), offset=352.0,
    slope=0.0, units=0, codes=(0, 0), sform=((0.0,) * 4,) * 3,
) -> bytes:  # fmt: skip
    """NIfTI-1; codes: of qform and sform."""
    header = bytearray(352)
    struct.pack_into("<i", header, 0, size)
    struct.pack_into("<8h", header, 40, *dims)
    struct.pack_into("<2h", header, 70, kind, bits)
    struct.pack_into("<4f", header, 76, 1.0, *spacing)
    struct.pack_into("<3f", header, 108, offset, slope, 0.0)
    header[123] = units
    struct.pack_into("<2h", header, 252, *codes)
    struct.pack_into("<12f", header, 280, *np.ravel(sform))
    header[344:348] = b"n+1\0"
    return bytes(header) + data


def write_nifti(
    path: Path, pixdim=(6.0, 6.0, 5.0), sform=None, units=MM, codes=(0, 1), slope=1.0, voxels=COUNTING
) -> Path:
    """A NIfTI-1 file; sform: three rows of four numbers (default: as pixdim says)."""
    rows = sform or [[pixdim[0], 0, 0, -96 * pixdim[0]], [0, pixdim[1], 0, 0], [0, 0, pixdim[2], 0]]
    dims = (3, *voxels.shape[::-1], 1, 1, 1, 1)
    content = nifti(
        voxels.astype("<f4").tobytes(), dims=dims, spacing=pixdim, slope=slope, units=units, codes=codes, sform=rows
    )
    path.write_bytes(gzip.compress(content) if path.name.lower().endswith(".gz") else content)
    return path
