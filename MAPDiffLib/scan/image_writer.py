"""An image into a file, whole and in its source's own numbers for the geometry.

SimpleITK does not notice a disk that fills while it writes a NIfTI. NIfTI holds the geometry as float32 and NRRD as
products, so that it changes in the last digit when written again: what the source file said is put back.
"""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import SimpleITK as sitk

from MAPDiffLib.errors import InputError
from MAPDiffLib.scan import nifti_header
from MAPDiffLib.scan.file_checks import NRRD_GEOMETRY
from MAPDiffLib.scan.itk import IMAGE_IO, alone_with_itk
from MAPDiffLib.scan.nifti_header import check_nifti


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
