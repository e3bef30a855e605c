"""What SimpleITK leaves to its caller in each file format: missing spacing, cut-off files, exact geometry.

SimpleITK reads a spacing that is missing as 1 mm and the missing end of a NIfTI file as zeros, and does not notice a
disk that fills while it writes one. NIfTI holds the geometry as float32 and NRRD as products, so that it changes in the
last digit when written again: what the source file said is kept in the metadata and put back.
"""

from __future__ import annotations

import gzip
import math
import re
import shutil
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import SimpleITK as sitk

from MAPDiffLib.errors import InputError

IMAGE_IO = {
    ".nii.gz": "NiftiImageIO",
    ".nii": "NiftiImageIO",
    ".nrrd": "NrrdImageIO",
    ".nhdr": "NrrdImageIO",
    ".mha": "MetaImageIO",
    ".mhd": "MetaImageIO",
}
SOURCE_GEOMETRY = "source_geometry"  # metadata key, "nifti ..." or "nrrd ..."
NIFTI_SIZE = 348
NIFTI_PIXDIM, NIFTI_UNITS, NIFTI_FORMS = slice(76, 92), slice(123, 124), slice(252, 328)
NIFTI_GEOMETRY = "4f1B2h18f"  # pixdim 0..3, xyzt_units, qform and sform codes, quaternion, offsets, three rows
SPACING_MM = (0.01, 100.0)  # from microscopy to slabs; beyond it a number is a fault, and grids in mm explode
MOST_PACKED = 1032  # bytes out of one byte in: deflate cannot do more
LONGEST_LINE, LONGEST_NAME = 500, 250  # teem's error texts and MetaIO's names have room for no more, and crash
NRRD_GEOMETRY = ("space:", "space dimension:", "space directions:", "space origin:", "spacings:", "axis mins:")
_ITK = threading.Lock()


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


def check_first(path: Path, suffix: str) -> None:
    """Checks what crashes SimpleITK or keeps it busy for minutes as soon as it looks at a header."""
    if suffix in (".mha", ".mhd"):
        fields = _header_fields(path, "=")
        dimensions = fields.get("ndims", "")
        if dimensions and not re.fullmatch(r"\d{1,2}", dimensions):
            raise InputError(f"{path} says NDims = {dimensions[:20]!r}: it is damaged. Copy or export it again.")
        if "ndims" in fields and fields.get("binarydata", "").lower() not in ("true", "t", "1"):
            raise InputError(
                f"{path} does not say BinaryData = True: voxels as text are not read. Export it as binary."
            )
        for key in (*fields, fields.get("name", "")):
            _check_length(key, LONGEST_NAME, path)
    elif IMAGE_IO[suffix] == "NrrdImageIO":
        lines = _header_lines(path)
        for line in lines if next(lines, "").startswith("NRRD") else ():
            free_text = line.startswith(("#", "content:")) or ":" not in line.partition(":=")[0] and ":=" in line
            _check_length("" if free_text else line, LONGEST_LINE, path)


def _check_length(text: str, longest: int, path: Path) -> None:
    if len(text) > longest:
        raise InputError(
            f"{path} has a header field of {len(text)} characters ({text[:20]!r}...), where at most {longest} make "
            "sense: it is damaged. Copy or export it again."
        )


def check_header(path: Path, suffix: str, claimed: int) -> str:
    """Checks what SimpleITK would let pass and returns the geometry in the file's own numbers ("" where not needed).

    claimed: bytes of voxels that the header announces; SimpleITK takes the memory for them before it looks.
    """
    if suffix.startswith(".nii"):
        return _check_nifti(path)
    if suffix in (".mha", ".mhd"):
        fields = _header_fields(path, "=")
        _need_spacing(fields, ("elementspacing", "elementsize"), path)
        if fields.get("compresseddata", "").lower() == "true":
            _check_compressed(path, fields.get("elementdatafile", ""), claimed)
        return ""
    fields = _header_fields(path, ":")
    _need_spacing(fields, ("space directions", "spacings"), path)
    beside = path.parent / fields.get("data file", fields.get("datafile", path.name))
    if beside.is_file():  # else several files, which SimpleITK opens one by one, or none
        packing = 1 if fields.get("encoding") == "raw" else MOST_PACKED
        check_claim(claimed, packing * beside.stat().st_size, path)
    kept = [f"{key}: {value}" for key, value in fields.items() if f"{key}:" in NRRD_GEOMETRY]
    return "nrrd " + "\n".join(kept)


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
                _check_nifti(path)
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
            while local and not file.readline(1 << 16).lower().startswith(b"elementdatafile"):
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


def _check_nifti(path: Path) -> str:
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    try:
        with gzip.open(path) if compressed else path.open("rb") as file:
            header = file.read(NIFTI_SIZE)
            length = len(header)
            while block := file.read(1 << 22):
                length += len(block)
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise InputError(
            f"{path} ends early (its gzip stream is cut short or damaged): copy or download it again."
        ) from None
    order = next((o for o in "<>" if header[:4] == struct.pack(o + "i", NIFTI_SIZE)), None)
    if order is None:  # NIfTI-2 or no NIfTI at all: SimpleITK says so
        return ""
    dims = struct.unpack(order + "8h", header[40:56])
    bits, offset = struct.unpack(order + "h", header[72:74])[0], struct.unpack(order + "f", header[108:112])[0]
    if not 0 <= offset < 1e9:
        raise InputError(f"{path} says that its voxels begin at byte {offset:g}: it is damaged. Copy it again.")
    needed = int(offset) + math.prod(dims[1 : 1 + dims[0]]) * bits // 8
    if length < needed:
        raise InputError(f"{path} ends early ({length} bytes of {needed}): copy or download it again.")
    packed = header[NIFTI_PIXDIM] + header[NIFTI_UNITS] + header[NIFTI_FORMS]
    values = struct.unpack(order + NIFTI_GEOMETRY, packed)
    check_spacing(tuple(abs(value) for value in values[1:4]), path)
    return "nifti " + struct.pack("<" + NIFTI_GEOMETRY, *values).hex()


def _with_nifti_geometry(written: bytes, text: str) -> bytes:
    packed, changed = bytes.fromhex(text), bytearray(written)
    changed[NIFTI_PIXDIM], changed[NIFTI_UNITS], changed[NIFTI_FORMS] = packed[:16], packed[16:17], packed[17:]
    return bytes(changed)


def _with_nrrd_geometry(written: bytes, text: str) -> bytes:
    header, _, voxels = written.partition(b"\n\n")
    lines = [line for line in header.decode("latin-1").split("\n") if not line.startswith(NRRD_GEOMETRY)]
    place = next(i for i, line in enumerate(lines) if line.startswith("sizes:"))  # teem wants the space before
    lines[place:place] = text.split("\n")
    return "\n".join(lines).encode("latin-1") + b"\n\n" + voxels


def _header_lines(path: Path) -> Iterator[str]:
    """The lines before the voxels: up to an empty one (NRRD) or the one that names the voxels' file (MetaImage)."""
    with path.open("rb") as file:
        for line in iter(lambda: file.readline(1 << 20), b""):
            text = line.decode("latin-1").rstrip("\r\n")
            yield text
            if not text or text.lower().startswith("elementdatafile"):
                return


def _header_fields(path: Path, separator: str) -> dict[str, str]:
    """The `key: value` (NRRD) or `key = value` (MetaImage) lines before the voxels, keys in small letters."""
    pairs = (line.partition(separator) for line in _header_lines(path))
    return {key.strip().lower(): value.strip() for key, _, value in pairs}


def _need_spacing(fields: dict[str, str], names: tuple[str, ...], path: Path) -> None:
    text = next((fields[name] for name in names if name in fields), None)
    if text is None or "nan" in text.lower():
        raise InputError(
            f"{path} has no spacing ({' or '.join(names)} is {text or 'missing'}): the voxel size in mm is needed "
            "along x, y and z. Convert the scan again with its geometry."
        )
