"""What SimpleITK leaves to its caller when a file is read: missing spacing, cut-off files, the geometry as it was said.

SimpleITK reads a spacing that is missing as 1 mm and the missing end of a NIfTI file as zeros. What the file says of
its geometry is kept in the metadata, for image_writer to put back.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, field
from pathlib import Path

from MAPDiffLib.errors import InputError
from MAPDiffLib.scan import lengths
from MAPDiffLib.scan.itk import IMAGE_IO
from MAPDiffLib.scan.nifti_header import check_nifti, shear_mm
from MAPDiffLib.scan.text_headers import meta_fields, nrrd_fields

SOURCE_GEOMETRY = "source_geometry"  # metadata key, "nifti ..." or "nrrd ..."
SPACING_MM = (0.01, 100.0)  # from microscopy to slabs; beyond it a number is a fault, and grids in mm explode
MOST_PACKED = 1032  # bytes out of one byte in: deflate cannot do more
NRRD_GEOMETRY = {
    "space": "space", "spacedimension": "space dimension", "spacedirections": "space directions",
    "spaceorigin": "space origin", "spacings": "spacings", "axismins": "axis mins",
}  # fmt: skip
TRUE = ("true", "t", "1")


def check_spacing(spacing_mm: tuple[float, ...], name: str | Path) -> None:
    """Raises InputError unless every spacing is a number of mm that a voxel can have."""
    if len(spacing_mm) != 3 or not all(SPACING_MM[0] <= value <= SPACING_MM[1] for value in spacing_mm):
        raise InputError(
            f"{name} has a missing or impossible spacing {tuple(spacing_mm)}: the voxel size in mm is needed along x, "
            "y and z. Convert the scan again with its geometry."
        )


def check_claim(claimed: int, most: int, path: str | Path) -> None:
    """Raises InputError for a file that announces more bytes of voxels than it can hold."""
    if claimed > most:
        raise InputError(
            f"{path} is cut short or damaged: its header announces {claimed} bytes of voxels, and it can hold at most "
            f"{most}. Copy or export it again."
        )


@dataclass(frozen=True)
class Header:
    """What a file's own header says beyond SimpleITK's reading of it.

    fields: of a text header; geometry: in the file's own numbers ("" where not needed); unit_mm: what SimpleITK's
    lengths are multiplied by to give mm; slope, intercept: from SimpleITK's voxels to their values; warnings: sentences
    for whoever gets the scan.
    """

    fields: dict[str, str] = field(default_factory=dict)
    geometry: str = ""
    unit_mm: float = 1.0
    slope: float = 1.0
    intercept: float = 0.0
    warnings: tuple[str, ...] = ()

    @property
    def files_beside(self) -> list[str]:
        """The names of the files that hold the voxels."""
        names = (self.fields.get("datafile", ""), self.fields.get("elementdatafile", ""))
        return [name for name in names if name and name.upper() != "LOCAL"]


def read_header(path: Path, suffix: str) -> Header:
    """Checks the header before ITK, which crashes on some, sees it, and a NIfTI to its end; InputError."""
    return {"NiftiImageIO": _nifti, "NrrdImageIO": _nrrd, "MetaImageIO": _meta}[IMAGE_IO[suffix]](path)


def check_voxels(path: Path, fields: dict[str, str], claimed: int) -> None:
    """InputError where the file cannot hold the `claimed` bytes of voxels: SimpleITK takes the memory first."""
    if "sizes" in fields:
        beside = path.parent / fields.get("datafile", path.name)
        if beside.is_file():  # else several files, which SimpleITK opens one by one, or none
            packing = 1 if fields.get("encoding") == "raw" else MOST_PACKED
            check_claim(claimed, packing * beside.stat().st_size, path)
    elif fields.get("compresseddata", "").lower() in TRUE:
        _check_compressed(path, fields.get("elementdatafile", ""), claimed)


def _nrrd(path: Path) -> Header:
    fields = nrrd_fields(path)
    _need_spacing(fields, ("spacedirections", "spacings"), path)
    unit_mm = lengths.nrrd_to_mm(fields, path)
    if unit_mm != 1:
        return Header(fields, unit_mm=unit_mm, warnings=(lengths.converted(unit_mm),))
    kept = (f"{name}: {fields[key]}" for key, name in NRRD_GEOMETRY.items() if key in fields)
    return Header(fields, "nrrd " + "\n".join(kept))


def _meta(path: Path) -> Header:
    fields = meta_fields(path)
    if "ndims" in fields and fields.get("binarydata", "").lower() not in TRUE:
        raise InputError(f"{path} does not say BinaryData = True: voxels as text are not read. Export it as binary.")
    if fields.get("elementdatafile", "").upper() == "LOCAL" and fields.get("headersize", "0") != "0":
        raise InputError(f"{path} says HeaderSize = {fields['headersize']} of its own voxels: export it again.")
    _need_spacing(fields, ("elementspacing", "elementsize"), path)
    slope = _finite(fields, "elementtointensityfunctionslope", 1.0, path)
    intercept = _finite(fields, "elementtointensityfunctionoffset", 0.0, path)
    unit_mm = lengths.to_mm([fields.get("distanceunits", "")], path)
    return Header(fields, "", unit_mm, slope, intercept, () if unit_mm == 1 else (lengths.converted(unit_mm),))


def _finite(fields: dict[str, str], key: str, default: float, path: Path) -> float:
    try:
        value = float(fields.get(key, default))
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or (value == 0 and default):
        raise InputError(f"{path} says {key} = {fields[key]}: a number other than 0 is needed. Export it again.")
    return value


def _nifti(path: Path) -> Header:
    header = check_nifti(path)
    if header is None:  # SimpleITK says so
        return Header()
    check_spacing(header.spacing_mm, path)
    off, warnings = shear_mm(header), []
    if off > 1e-3 * min(header.spacing_mm):
        warnings.append(f"The axes of the file are not quite at right angles: voxels lie up to {off:.2f} mm off.")
    if header.unit_mm != 1:  # SimpleITK has converted them itself
        warnings.append(lengths.converted(header.unit_mm))
    return Header(geometry=f"nifti {header.packed.hex()}", warnings=tuple(warnings))


def _check_compressed(path: Path, beside: str, claimed: int) -> None:
    """A zlib stream of a MetaImage that is damaged or too short is something that SimpleITK only prints about."""
    local = beside.upper() == "LOCAL"
    stream, inflated = zlib.decompressobj(), 0
    try:
        with (path if local else path.parent / beside).open("rb") as file:
            while local and not file.readline(1 << 16).strip().lower().startswith(b"elementdatafile"):
                pass
            while (block := file.read(1 << 20)) and not stream.eof:
                while block:
                    inflated += len(stream.decompress(block, 1 << 22))  # in parts: a small file may hold gigabytes
                    block = stream.unconsumed_tail
        damaged = not stream.eof or inflated < claimed
    except (zlib.error, OSError, ValueError):  # ValueError: a name with a null byte
        damaged = True
    if damaged:
        raise InputError(f"{path}: its compressed voxels are cut short or damaged. Copy or export it again.")


def _need_spacing(fields: dict[str, str], names: tuple[str, ...], path: Path) -> None:
    text = next((fields[name] for name in names if name in fields), None)
    if text is None or "nan" in text.lower():
        raise InputError(
            f"{path} has no spacing ({' or '.join(names)} is {text or 'missing'}): the voxel size in mm is needed "
            "along x, y and z. Convert the scan again with its geometry."
        )
