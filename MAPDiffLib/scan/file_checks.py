"""What SimpleITK leaves to its caller in each file format: missing spacing, cut-off files, exact geometry.

SimpleITK reads a spacing that is missing as 1 mm and the missing end of a NIfTI file as zeros, and does not notice a
disk that fills while it writes one. NIfTI holds the geometry as float32 and NRRD as products, so that it changes in the
last digit when written again: what the source file said is kept in the metadata and put back.
"""

from __future__ import annotations

import gzip
import math
import os
import shutil
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import SimpleITK as sitk

from MAPDiffLib.errors import InputError
from MAPDiffLib.scan import lengths, nifti_header
from MAPDiffLib.scan.nifti_header import check_nifti, shear_mm
from MAPDiffLib.scan.text_headers import meta_fields, nrrd_fields

IMAGE_IO = {
    ".nii.gz": "NiftiImageIO",
    ".nii": "NiftiImageIO",
    ".nrrd": "NrrdImageIO",
    ".nhdr": "NrrdImageIO",
    ".mha": "MetaImageIO",
    ".mhd": "MetaImageIO",
}
SOURCE_GEOMETRY = "source_geometry"  # metadata key, "nifti ..." or "nrrd ..."
SPACING_MM = (0.01, 100.0)  # from microscopy to slabs; beyond it a number is a fault, and grids in mm explode
MOST_PACKED = 1032  # bytes out of one byte in: deflate cannot do more
NRRD_GEOMETRY = {
    "space": "space", "spacedimension": "space dimension", "spacedirections": "space directions",
    "spaceorigin": "space origin", "spacings": "spacings", "axismins": "axis mins",
}  # fmt: skip
TRUE = ("true", "t", "1")
_ITK = threading.Lock()
# ITK refuses axes that are a hair from right angles; shear_mm judges them by how far they are off.
os.environ["ITK_NIFTI_SFORM_PERMISSIVE"] = "1"


@contextmanager
def alone_with_itk() -> Iterator[None]:
    """One thread at a time, ITK's warnings off stderr meanwhile: around every use of SimpleITK's readers and writers.

    They let go of Python's own lock, but share strings and error texts among all threads: a file that cannot be read in
    one thread while another reads or writes corrupts the process's memory (seen with SimpleITK 2.5.7, NRRD and NIfTI;
    https://github.com/SimpleITK/SimpleITK/issues/74).
    """
    with _ITK:
        shown = sitk.ProcessObject_GetGlobalWarningDisplay()
        sitk.ProcessObject_SetGlobalWarningDisplay(False)
        try:
            yield
        finally:
            sitk.ProcessObject_SetGlobalWarningDisplay(shown)


def reason(error: Exception) -> str:
    """The line of an ITK error that says what happened, without its source files and addresses."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and not line.startswith("Reason:")]
    return lines[-1].rpartition("): ")[2] if lines else type(error).__name__


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


def write_image(image: sitk.Image, path: Path, suffix: str, source_geometry: str = "") -> None:
    """Writes the image at `path`, in its source's own geometry if it is the same. Raises OSError or RuntimeError."""
    if suffix == ".nii.gz":
        plain = path.with_name(path.name.removesuffix(".gz"))
        try:
            write_image(image, plain, ".nii", source_geometry)
            with plain.open("rb") as source, gzip.open(path, "wb", compresslevel=1) as target:
                shutil.copyfileobj(source, target, 1 << 20)
        finally:
            plain.unlink(missing_ok=True)
        return
    with alone_with_itk():  # not while the file is packed above, which takes longest
        writer = sitk.ImageFileWriter()
        writer.SetFileName(str(path))
        writer.SetImageIO(IMAGE_IO[suffix])
        writer.SetUseCompression(suffix != ".nii")
        writer.SetCompressionLevel(1)
        writer.Execute(image)
        if suffix == ".nii":
            try:
                check_nifti(path)
            except InputError:
                raise OSError("only a part of the file could be written") from None
        if source_geometry and _geometry(path, suffix) != _image_geometry(image):
            _put_back(image, path, suffix, source_geometry)


def _put_back(image: sitk.Image, path: Path, suffix: str, source_geometry: str) -> None:
    """The source's own numbers for the geometry, unless the image has been given another geometry since."""
    kind, _, text = source_geometry.partition(" ")
    replace = {".nii": _with_nifti_geometry, ".nrrd": _with_nrrd_geometry}.get(suffix)
    if replace is None or not IMAGE_IO[suffix].lower().startswith(kind):
        return
    written = path.read_bytes()
    path.write_bytes(replace(written, text))
    if _geometry(path, suffix) != _image_geometry(image):
        path.write_bytes(written)


def _geometry(path: Path, suffix: str) -> tuple[float, ...]:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO(IMAGE_IO[suffix])
    reader.ReadImageInformation()
    return _image_geometry(reader)


def _image_geometry(image: sitk.Image | sitk.ImageFileReader) -> tuple[float, ...]:
    return tuple(image.GetSpacing()) + tuple(image.GetOrigin()) + tuple(image.GetDirection())


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


def _with_nifti_geometry(written: bytes, text: str) -> bytes:
    packed, changed = bytes.fromhex(text), bytearray(written)
    places = (nifti_header.PIXDIM, nifti_header.UNITS, nifti_header.FORMS)
    for place, piece in zip(places, (packed[:16], packed[16:17], packed[17:]), strict=True):
        changed[place] = piece
    return bytes(changed)


def _with_nrrd_geometry(written: bytes, text: str) -> bytes:
    header, _, voxels = written.partition(b"\n\n")
    names = tuple(f"{name}:" for name in NRRD_GEOMETRY.values())
    lines = [line for line in header.decode("latin-1").split("\n") if not line.startswith(names)]
    place = next(i for i, line in enumerate(lines) if line.startswith("sizes:"))  # teem wants the space before
    lines[place:place] = text.split("\n")
    return "\n".join(lines).encode("latin-1") + b"\n\n" + voxels


def _need_spacing(fields: dict[str, str], names: tuple[str, ...], path: Path) -> None:
    text = next((fields[name] for name in names if name in fields), None)
    if text is None or "nan" in text.lower():
        raise InputError(
            f"{path} has no spacing ({' or '.join(names)} is {text or 'missing'}): the voxel size in mm is needed "
            "along x, y and z. Convert the scan again with its geometry."
        )
