"""A scan as one frozen value: voxels, geometry, units; read from a file or a DICOM folder, checked, written whole."""

from __future__ import annotations

import math
import re
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from MAPDiffLib.errors import InputError, NotAScan
from MAPDiffLib.files import written_whole
from MAPDiffLib.scan import bids_sidecar, dicom_reader, file_checks, image_writer, itk, plain_paths
from MAPDiffLib.scan.body import body_mask, signed_shares
from MAPDiffLib.scan.kinds import SMALLEST_BODY_MM, body_size_mm, is_label_map
from MAPDiffLib.scan.nifti_header import not_finite

__all__ = ["Volume", "body_mask", "check_volume", "read_volume", "write_volume"]

READABLE = tuple(itk.IMAGE_IO)
WRITABLE = (".nrrd", ".nii.gz", ".nii", ".mha")
KEPT_METADATA = dicom_reader.KEPT_METADATA  # of what a file carries, only what cannot name the patient
LEAST_BODY, LEAST_BODY_ML = 0.02, 10.0  # less than both, of the field of view and in ml, is a speck in the air


@dataclass(frozen=True, eq=False)
class Volume:
    """Voxels float32 [z, y, x] with their geometry in mm (SimpleITK's order and LPS axes), units and metadata.

    `direction` is a 3 x 3 matrix, row by row. `units` is "BQML", "SUVbw", another DICOM code or "unknown". `warnings`:
    sentences on what the reader found odd in the files, for whoever gets the results.
    """

    voxels: np.ndarray
    spacing_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    direction: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
    units: str = "unknown"
    metadata: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def __post_init__(self):
        object.__setattr__(self, "voxels", np.ascontiguousarray(self.voxels, dtype=np.float32))
        for name in ("spacing_mm", "origin_mm", "direction"):
            object.__setattr__(self, name, tuple(float(value) for value in getattr(self, name)))

    @property
    def suv_factor(self) -> float:
        """What the voxels are multiplied by to give body-weight SUV; InputError says why it is not known."""
        if self.units == "SUVbw":
            return 1.0
        if dicom_reader.SUV_FACTOR in self.metadata:
            return float(self.metadata[dicom_reader.SUV_FACTOR])
        unknown = f"SUV: the scan's units are {self.units}, and nothing in it says what SUV they correspond to."
        raise InputError(self.metadata.get(dicom_reader.SUV_REFUSED, unknown))

    @cached_property
    def body(self) -> np.ndarray:
        """Where the body is: bool [z, y, x], found once."""
        return body_mask(self.voxels, self.spacing_mm)

    def with_voxels(self, voxels: np.ndarray) -> Volume:
        """The same geometry, units and metadata around other voxels [z, y, x]."""
        return replace(self, voxels=voxels)


def read_volume(path: str | Path) -> Volume:
    """The scan in a NIfTI, NRRD or MetaImage file, or in a folder that holds the DICOM slices of one PET series.

    Integers, rescale slopes, either byte order and compression are all resolved to float32. Raises InputError, which
    names the file, what was seen and what to do; what the voxels hold is for `check_volume` to judge.
    """
    path = Path(path)
    try:
        if path.is_dir():
            return Volume(*dicom_reader.read_series(path))
        with path.open("rb"):
            pass
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: check the path of the scan.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be opened ({error.strerror}): check that you may read it.") from None
    return _read_file(path)


def check_volume(volume: Volume, name: str) -> None:
    """Raises InputError, beginning with `name`, for a volume that cannot be a PET scan of a body."""
    voxels = volume.voxels
    if voxels.ndim != 3:
        raise InputError(f"{name} has {voxels.ndim} dimensions; one 3-D volume is needed: extract one time frame.")
    if voxels.size == 0:
        raise InputError(f"{name} is empty (shape {voxels.shape}): export the scan again.")
    if min(voxels.shape) < 2:
        raise InputError(f"{name} is a single slice (shape {voxels.shape} in z, y, x): the whole 3-D volume is needed.")
    file_checks.check_spacing(volume.spacing_mm, name)
    _check_values(voxels, name)
    if is_label_map(voxels):
        raise NotAScan(
            f"{name} is a label map or mask ({voxels.min():g} to {voxels.max():g}, alike in neighbours), no scan: give "
            "the PET, not its segmentation."
        )
    # What a body is made of shows only without the noise: a scan at 1/100 of the dose is half negative in the air.
    positive, negative = signed_shares(voxels, volume.spacing_mm)
    if negative >= positive or np.count_nonzero(voxels < 0) > 0.6 * voxels.size:
        share = np.count_nonzero(voxels < 0) / voxels.size
        raise InputError(
            f"{name} is mostly negative ({share:.0%} of the voxels): activity is positive. Give the PET, not the CT."
        )
    body = volume.body.mean()
    body_ml = body * voxels.size * float(np.prod(volume.spacing_mm)) / 1000
    if (body < LEAST_BODY and body_ml < LEAST_BODY_ML) or negative > 0.5 * positive:
        raise InputError(
            f"{name} holds only air: the brightest part is {body:.2%} of the volume, or noise around zero. "
            "Give a scan with a body in it."
        )
    size_mm = body_size_mm(volume.body, volume.spacing_mm)
    if size_mm[1] < SMALLEST_BODY_MM:
        raise InputError(
            f"{name} shows a body of {' x '.join(f'{edge:.0f}' for edge in size_mm)} mm: a small animal, a small "
            f"phantom or a cut-out. The models know people, who are more than {SMALLEST_BODY_MM:g} mm across, and "
            "would smear anything smaller. Give a whole scan of a person; if this is one, its voxel size is wrong."
        )


def _check_values(voxels: np.ndarray, name: str) -> None:
    finite = np.isfinite(voxels)
    if not finite.all():
        raise InputError(not_finite(name, np.count_nonzero(~finite), np.argwhere(~finite)[0]))
    if voxels.min() == voxels.max():
        raise InputError(f"{name} is constant (every voxel is {voxels.flat[0]:g}): it holds no image, export it again.")


def write_volume(volume: Volume, path: str | Path) -> None:
    """Writes the volume as float32 .nrrd, .nii.gz, .nii or .mha, with its units; the folder must exist.

    The file appears whole or not at all. Raises InputError when it cannot be begun, OSError when it cannot be finished.
    """
    path = Path(path)
    suffix = _suffix(path, WRITABLE, "written")
    if not path.parent.is_dir():
        raise InputError(f"{path} cannot be written: there is no folder {path.parent}. Create it first.")
    try:
        with written_whole(path) as partial:
            _begin(partial, path)
            _write_file(volume, partial, suffix)
    except (OSError, RuntimeError) as error:
        raise OSError(f"{path} was not written: {itk.reason(error)}. Is the disk full or the file open?") from error


def _begin(partial: Path, path: Path) -> None:
    try:
        with partial.open("wb"):
            pass
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}): choose a folder that you may write.") from None


def _volume(image: sitk.Image, units: str, metadata: dict[str, str]) -> Volume:
    voxels = sitk.GetArrayFromImage(image)
    return Volume(voxels, image.GetSpacing(), image.GetOrigin(), image.GetDirection(), units, metadata)


def _suffix(path: Path, known: tuple[str, ...], verb: str) -> str:
    for suffix in sorted(known, key=len, reverse=True):
        if path.name.lower().endswith(suffix):
            return suffix
    raise InputError(
        f"{path} has an extension that cannot be {verb} ({path.suffix or 'none'}): use {', '.join(known)}"
        + (", or give the folder that holds the DICOM slices." if verb == "read" else ".")
    )


def _read_file(path: Path) -> Volume:
    suffix = _suffix(path, READABLE, "read")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty (0 bytes): copy or export it again.")
    header = file_checks.read_header(path, suffix)
    with itk.alone_with_itk(), _openable(path, suffix, header.files_beside) as file:
        reader = sitk.ImageFileReader()
        reader.SetImageIO(itk.IMAGE_IO[suffix])
        reader.SetOutputPixelType(sitk.sitkFloat32)
        reader.SetFileName(str(file))
        try:
            reader.ReadImageInformation()
            _check_layout(reader, path)
            file_checks.check_voxels(path, header.fields, _claimed_bytes(reader))
            image = reader.Execute()
        except RuntimeError as error:
            raise InputError(
                f"{path} could not be read as {suffix} ({itk.reason(error)}): it is not such an image, cut "
                "short or damaged. Copy or export it again."
            ) from None
        wanted = ("descrip", "units", *KEPT_METADATA)  # never all: one in another encoding cannot even be asked for
        found = {key: reader.GetMetaData(key).strip() for key in wanted if reader.HasMetaDataKey(key)}
    noted = re.search(r"units=(\S+)", found.get("descrip", ""))
    units = found.get("units") or (noted.group(1) if noted else "unknown")
    kept = {key: found[key] for key in KEPT_METADATA if found.get(key)}
    if header.geometry:
        kept[file_checks.SOURCE_GEOMETRY] = header.geometry
    volume = _volume(image, units, kept)
    if header.unit_mm != 1:
        spacing_mm, origin_mm = np.multiply((volume.spacing_mm, volume.origin_mm), header.unit_mm)
        volume = replace(volume, spacing_mm=tuple(spacing_mm), origin_mm=tuple(origin_mm))
    if (header.slope, header.intercept) != (1, 0):
        volume = volume.with_voxels(volume.voxels * np.float32(header.slope) + np.float32(header.intercept))
    return _with_sidecar(replace(volume, warnings=header.warnings), path, suffix)


def _with_sidecar(volume: Volume, path: Path, suffix: str) -> Volume:
    """With what the JSON file beside a NIfTI says, where the file itself does not say its units."""
    found = bids_sidecar.read_sidecar(path) if suffix.startswith(".nii") and volume.units == "unknown" else None
    if found is None:
        return volume
    units, metadata, warnings = found
    return replace(volume, units=units, metadata=volume.metadata | metadata, warnings=volume.warnings + warnings)


def _claimed_bytes(reader: sitk.ImageFileReader) -> int:
    """Bytes of the voxels as stored, by what the header says."""
    return math.prod(reader.GetSize()) * sitk.Image([1, 1], reader.GetPixelID()).GetSizeOfPixelComponent()


def _openable(path: Path, suffix: str, beside: list[str]) -> AbstractContextManager[Path]:
    """The file under a path that SimpleITK opens, and takes for the right one."""
    has_twin = suffix == ".nii.gz" and path.with_suffix("").exists()
    if plain_paths.is_plain(path) and path.name.endswith(suffix) and not has_twin:
        return nullcontext(path)
    return plain_paths.plain_copy(path, f"scan{suffix}", beside)


def _check_layout(reader: sitk.ImageFileReader, path: Path) -> None:
    size, components = reader.GetSize(), reader.GetNumberOfComponents()
    if components != 1 or "complex" in sitk.GetPixelIDValueAsString(reader.GetPixelID()):
        raise InputError(
            f"{path} has {components} values a voxel (colour, vector or complex): one activity a voxel is needed. "
            "Export the PET itself, not a fused or coloured picture."
        )
    if len(size) == 2:
        raise InputError(f"{path} is a single slice of {size[0]} x {size[1]}: the whole 3-D volume is needed.")
    if len(size) != 3:
        raise InputError(f"{path} is {len(size)}-D (size {size}): one 3-D volume is needed. Extract one time frame.")


def _write_file(volume: Volume, path: Path, suffix: str) -> None:
    image = sitk.GetImageFromArray(volume.voxels)
    image.SetSpacing(volume.spacing_mm)
    image.SetOrigin(volume.origin_mm)
    image.SetDirection(volume.direction)
    image.SetMetaData("units", volume.units)
    image.SetMetaData("ITK_FileNotes", f"units={volume.units}")  # NIfTI's descrip field, its only place for a unit
    for key in KEPT_METADATA:
        if volume.metadata.get(key):
            text = volume.metadata[key].encode("utf-8", "replace").decode()  # what was read in another encoding
            image.SetMetaData(key, text)
    geometry = volume.metadata.get(file_checks.SOURCE_GEOMETRY, "")
    with plain_paths.plain_target(path, f"scan{suffix}") as target:
        image_writer.write_image(image, target, suffix, geometry)
