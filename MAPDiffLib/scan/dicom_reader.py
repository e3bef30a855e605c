"""One PET series from a folder of DICOM files: sorted by position, each slice with its own rescale slope."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from MAPDiffLib.errors import InputError
from MAPDiffLib.scan import file_checks, suv
from MAPDiffLib.scan.dicom_header import DOSE, ENHANCED_PET, UNSOUND, Plane, quiet_pydicom, read_planes
from MAPDiffLib.scan.dicom_pixels import PlaneReader, rescale
from MAPDiffLib.scan.series_choice import choose_series
from MAPDiffLib.scan.slice_grid import SAME_PLACE_MM, axes_of, even_grid, sorted_planes

METADATA = {
    "modality": "Modality",
    "manufacturer": "Manufacturer",
    "model": "ManufacturerModelName",
    "series_description": "SeriesDescription",
    "decay_correction": "DecayCorrection",
    "weight_kg": "PatientWeight",
    "dose_bq": "RadionuclideTotalDose",
    "half_life_s": "RadionuclideHalfLife",
}
SUV_FACTOR, SUV_REFUSED = "suv_factor", "suv_refused"  # metadata keys: one of the two is there
KEPT_METADATA = (*METADATA, SUV_FACTOR, SUV_REFUSED)
ACQUIRED = ("AcquisitionDate", "AcquisitionTime", "FrameReferenceTime")
SAME_FOR_SUV = ("SeriesDate", "SeriesTime", "PatientWeight", "DecayCorrection", *DOSE)
GEOMETRY = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
SAME_ANGLE, SAME_SPACING = 5e-4, 1e-4  # direction cosines and mm that exporters write in another last digit
WHOLE_NUMBER = re.compile(r"[0-9]{1,9}")


class Series(NamedTuple):
    """What a Volume is made of, in its order."""

    voxels: np.ndarray
    spacing_mm: tuple[float, float, float]
    origin_mm: tuple[float, ...]
    direction: tuple[float, ...]
    units: str
    metadata: dict[str, str]
    warnings: tuple[str, ...]


def read_series(folder: Path) -> Series:
    """The one PET series in the folder: voxels float32 [z, y, x]; metadata holds nothing that names the patient.

    Raises InputError for no DICOM, no PET series or several, missing, doubled or unlike slices, values without a slope.
    """
    planes, warnings = _planes(folder)
    grid, uneven = even_grid(planes, folder)
    reader = PlaneReader()
    voxels = np.empty((len(planes), planes[0].whole("Rows", 0), planes[0].whole("Columns", 0)), np.float32)
    for plane, target in zip(planes, voxels, strict=True):
        target[:] = reader.values(plane)
    first = planes[0]
    metadata = {name: first.text(keyword) for name, keyword in METADATA.items() if first.text(keyword)}
    warnings = (*warnings, *uneven, *_count_warnings(planes))
    return Series(voxels, *grid, _units(first), metadata | suv_metadata(planes), warnings)


def series_files(folder: Path) -> list[Path]:
    """The files of the one PET series in the folder, in the order of `read_series`'s slices. InputError as there.

    InputError too where one file holds several of its slices.
    """
    planes, _ = _planes(folder)
    if len({plane.path for plane in planes}) < len(planes):
        raise InputError(
            f"{folder}: DICOM is written slice by slice from a series with a file for each; {planes[0].path.name} "
            "holds several. Choose another --format."
        )
    return [plane.path for plane in planes]


def series_units(files: Sequence[Path]) -> dict[str, str]:
    """Units of the one PET series in these files, and SUV_FACTOR or SUV_REFUSED; no voxel is read.

    For values that another program has read, and rescaled. InputError for no DICOM, no PET series or several.
    """
    found = [plane for path in files for plane in read_planes(path)]
    if not found:
        raise InputError(f"none of the {len(files)} files is a DICOM image.")
    planes, _ = choose_series(found, files[0].parent)
    return {"units": _units(planes[0])} | suv_metadata(planes)


def suv_metadata(planes: Sequence[Plane]) -> dict[str, str]:
    """The factor to body-weight SUV (key "suv_factor") or why there is none ("suv_refused"), for the panel too."""
    import pydicom

    try:
        if any(plane.text("SOPClassUID") == ENHANCED_PET or plane.frames > 1 for plane in planes):
            return _suv_of_frames(planes)
        for name in SAME_FOR_SUV:
            if len(seen := {plane.text(name) for plane in planes}) > 1:
                raise InputError(f"SUV: {name} differs between the slices ({', '.join(sorted(seen)[:3])}).")
        earliest = min(planes, key=lambda plane: tuple(_sortable(plane.text(name)) for name in ACQUIRED))
        with quiet_pydicom():
            factor = suv.suv_factor(pydicom.dcmread(earliest.path, force=True, stop_before_pixels=True))
    except InputError as error:
        return {SUV_REFUSED: str(error)}
    except UNSOUND as error:
        return {SUV_REFUSED: f"SUV: the header holds what cannot be read ({error})."}
    return {SUV_FACTOR: repr(factor)}


def _suv_of_frames(planes: Sequence[Plane]) -> dict[str, str]:
    if _units(planes[0]) == "SUVbw":
        return {SUV_FACTOR: "1.0"}
    return {SUV_REFUSED: "SUV: the factor is not computed for Enhanced PET; give it as single-frame PET slices."}


def _planes(folder: Path) -> tuple[list[Plane], list[str]]:
    """The planes of the series in order, no place twice, and what a user should know of them."""
    found = []
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name.upper() != "DICOMDIR")
    for path in files:
        found += read_planes(path)
    if not found:
        raise InputError(
            f"{folder} holds no DICOM slices ({len(files)} other files): give the folder that holds the slices of "
            "one PET series itself, not the one above it."
        )
    planes, warnings = choose_series(found, folder)
    _check_planes(planes)
    planes, heights = sorted_planes(planes)
    planes, copies = _without_copies(planes, heights, folder)
    if len(planes) == 1:
        raise InputError(f"{folder} holds a single slice: all slices of the series are needed.")
    return planes, warnings + copies


def _check_planes(planes: Sequence[Plane]) -> None:
    first = planes[0]
    for plane in planes:
        if plane.whole("SamplesPerPixel", 1) != 1 or plane.text("PhotometricInterpretation").startswith("PALETTE"):
            raise InputError(f"{plane.path} is a colour picture: give the PET slices themselves.")
        if missing := [name for name in GEOMETRY if not plane.text(name)]:
            raise InputError(
                f"{plane.path} lacks {' and '.join(missing)}; position, orientation and pixel spacing make the "
                "geometry. Export the series again, or take the file out of the folder."
            )
        voxels = plane.whole("Rows", 0) * plane.whole("Columns", 0) * plane.frames
        file_checks.check_claim(voxels * plane.whole("BitsAllocated", 0) // 8, plane.holds, plane.path)
        file_checks.check_spacing((*plane.numbers("PixelSpacing", 2), 1.0), plane.path)
        rescale(plane)
        _check_layout(plane, first)
        if _units(plane) != _units(first):
            raise InputError(
                f"{plane.path} is in {_units(plane)} and {first.path.name} in {_units(first)}: all slices must have "
                "one unit. Export the series again."
            )


def _check_layout(plane: Plane, first: Plane) -> None:
    size = [(each.whole("Rows", 0), each.whole("Columns", 0)) for each in (plane, first)]
    spacing = [each.numbers("PixelSpacing", 2) for each in (plane, first)]
    axes = [np.concatenate([axes_of(each).row, axes_of(each).column]) for each in (plane, first)]
    if size[0] != size[1]:
        what = f"size ({size[0][1]} x {size[0][0]} and {size[1][1]} x {size[1][0]})"
    elif not np.allclose(*spacing, rtol=SAME_SPACING, atol=0):
        what = f"pixel spacing ({spacing[0]} and {spacing[1]} mm)"
    elif not np.allclose(*axes, rtol=0, atol=SAME_ANGLE):
        what = f"orientation ({plane.text('ImageOrientationPatient')} and {first.text('ImageOrientationPatient')})"
    else:
        return
    raise InputError(
        f"{plane.path} differs in {what} from {first.path.name}: all slices must be alike. Take out what does not "
        "belong to the series."
    )


def _without_copies(planes: list[Plane], heights: np.ndarray, folder: Path) -> tuple[list[Plane], list[str]]:
    """No place twice: what is there again with the same values and times is a copy, anything else another image."""
    reader, kept, kept_heights = PlaneReader(), [], []
    for plane, height in zip(planes, heights, strict=True):
        if kept and height - kept_heights[-1] < SAME_PLACE_MM:
            same = all(plane.text(name) == kept[-1].text(name) for name in ACQUIRED)
            if not (same and np.array_equal(reader.values(plane), reader.values(kept[-1]))):
                raise InputError(_two_images(planes, heights, kept[-1], plane, folder))
        else:
            kept.append(plane)
            kept_heights.append(height)
    copies = len(planes) - len(kept)
    words = f"{copies} of {len(planes)} slices are there twice, with the same values: one of each is taken."
    return kept, [words] if copies else []


def _two_images(planes: list[Plane], heights: np.ndarray, one: Plane, other: Plane, folder: Path) -> str:
    places = 1 + np.count_nonzero(np.diff(heights) >= SAME_PLACE_MM)
    names = (*ACQUIRED, "InstanceNumber", "SeriesDescription")
    differing = [
        f"{name} {one.text(name) or 'missing'} and {other.text(name) or 'missing'}"
        for name in names
        if one.text(name) != other.text(name)
    ]
    return (
        f"{folder} holds {len(planes)} slices at {places} positions, and those at one position are different images "
        f"({one.name} and {other.name}: {', '.join(differing) or 'other values'}): a dynamic or gated scan, or two "
        "reconstructions under one series UID? Put one of them in a folder of its own."
    )


def _count_warnings(planes: Sequence[Plane]) -> list[str]:
    """Slices that are missing at an end leave no gap; the header may still count them."""
    announced = Counter(plane.whole("NumberOfSlices", 0) for plane in planes).most_common(1)[0][0]
    whole_body = planes[0].text("SeriesType").startswith("WHOLE BODY")  # some count the slices of one bed position
    if announced > len(planes) or (announced and announced != len(planes) and not whole_body):
        return [
            f"NumberOfSlices (0054,0081) is {announced}, and {len(planes)} slices are here. Is the series "
            "complete? If slices are missing at an end, copy it again."
        ]
    numbers = {plane.text("InstanceNumber") for plane in planes}
    if announced or len(numbers) < len(planes) or not all(map(WHOLE_NUMBER.fullmatch, numbers)):
        return []
    low, high = min(map(int, numbers)), max(map(int, numbers))
    if low <= 1 and high - low < len(planes):
        return []
    return [
        f"The instance numbers of the {len(planes)} slices go from {low} to {high}. Is the series complete? "
        "If slices are missing at an end, copy it again."
    ]


def _units(plane: Plane) -> str:
    """DICOM units; for g/ml the kind of SUV, body weight unless another is named (PS3.3 C.8.9.1)."""
    units = plane.text("Units") or "unknown"
    if units != "GML":
        return units
    return {"BW": "SUVbw", "LBM": "SUVlbm", "LBMJAMES128": "SUVlbm"}.get(plane.text("SUVType") or "BW", units)


def _sortable(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.inf
