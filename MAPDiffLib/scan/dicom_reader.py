"""One PET series from a folder of DICOM slices: sorted by position, each slice with its own rescale slope."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from MAPDiffLib.errors import InputError
from MAPDiffLib.scan import dicom_lengths, file_checks, suv

SERIES, IMAGE, MODALITY, DESCRIPTION = "0020|000e", "0008|0018", "0008|0060", "0008|103e"
POSITION, ORIENTATION, PIXEL_SPACING = "0020|0032", "0020|0037", "0028|0030"
ROWS, COLUMNS, FRAMES, SAMPLES, BITS = "0028|0010", "0028|0011", "0028|0008", "0028|0002", "0028|0100"
UNITS, SUV_TYPE = "0054|1001", "0054|1006"
TAGS = {
    "modality": MODALITY,
    "manufacturer": "0008|0070",
    "model": "0008|1090",
    "series_description": DESCRIPTION,
    "decay_correction": "0054|1102",
    "weight_kg": "0010|1030",
}
DOSE_TAGS = {"dose_bq": "RadionuclideTotalDose", "half_life_s": "RadionuclideHalfLife"}
SUV_FACTOR, SUV_REFUSED = "suv_factor", "suv_refused"  # metadata keys: one of the two is there
KEPT_METADATA = (*TAGS, *DOSE_TAGS, SUV_FACTOR, SUV_REFUSED)
ACQUIRED = ("0008|0022", "0008|0032", "0054|1300")  # date, time, frame reference time
SAME_FOR_SUV = {
    "SeriesDate": "0008|0021",
    "SeriesTime": "0008|0031",
    "PatientWeight": "0010|1030",
    "DecayCorrection": "0054|1102",
}
GAP_TOLERANCE = 0.1  # of the slice spacing: scanners with overlapping bed positions are irregular by a few per cent

Slice = dict[str, str]  # tag -> value, "path", and "holds": how many bytes of pixels the file can hold


def read_series(folder: Path) -> tuple[sitk.Image, str, dict[str, str]]:
    """Image (float32), units and metadata (nothing that names the patient) of the one PET series in the folder.

    Raises InputError for no DICOM, several series, another modality, missing, doubled or unlike slices.
    """
    with file_checks.alone_with_itk():
        slices = _slices(folder)
        reader = sitk.ImageSeriesReader()
        reader.SetImageIO("GDCMImageIO")
        reader.SetFileNames([found["path"] for found in slices])
        reader.SetOutputPixelType(sitk.sitkFloat32)  # else the first slice decides, and its slope may be an integer
        try:
            image = reader.Execute()
        except RuntimeError as error:
            raise InputError(
                f"{folder}: the slices could not be read ({file_checks.reason(error)}). "
                "Copy or export the series again."
            ) from None
    first = slices[0]
    metadata = {name: first[tag] for name, tag in TAGS.items() if first.get(tag)}
    return image, _units(first), metadata | _dose(first["path"]) | _suv(slices)


def series_files(folder: Path) -> list[Path]:
    """The files of the one PET series in the folder, in the order of `read_series`'s slices. InputError as there."""
    with file_checks.alone_with_itk():
        return [Path(found["path"]) for found in _slices(folder)]


def _slices(folder: Path) -> list[Slice]:
    slices = _one_series(_read_headers(folder), folder)
    _check_slices(slices)
    return _sorted(slices, folder)


def _read_headers(folder: Path) -> list[Slice]:
    found = []
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name.upper() != "DICOMDIR")
    for path in files:
        header = _read_header(path)
        if header is not None:
            found.append(header)
    if not found:
        raise InputError(
            f"{folder} holds no DICOM slices ({len(files)} other files): give the folder that holds the slices of "
            "one PET series itself, not the one above it."
        )
    # The same image copied twice into a folder is one image.
    return list({(header.get(IMAGE, header["path"]), header.get(POSITION)): header for header in found}.values())


def _read_header(path: Path) -> Slice | None:
    """The header's tags; None for a file that is no DICOM."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO("GDCMImageIO")
    try:
        holds = dicom_lengths.pixel_bytes(path)
        if holds is not None:
            reader.ReadImageInformation()
            tags = {key: reader.GetMetaData(key).strip(" \0") for key in reader.GetMetaDataKeys()}
            return tags | {"path": str(path), "holds": str(holds)}
    except OSError as error:
        raise InputError(f"{path} cannot be opened ({error.strerror}): check that you may read it.") from None
    except RuntimeError:  # the header is sound, and no image
        pass
    if not dicom_lengths.has_mark(path):
        return None
    raise InputError(
        f"{path} is DICOM but no readable image (damaged, deflated, or a report): copy it again or take it out of the "
        "folder."
    )


def _one_series(slices: list[Slice], folder: Path) -> list[Slice]:
    counts = Counter(found.get(SERIES, "") for found in slices)
    first = {found.get(SERIES, ""): found for found in reversed(slices)}
    if len(counts) > 1:
        listed = "; ".join(
            f'"{first[series].get(DESCRIPTION, "")}" ({first[series].get(MODALITY, "?")}, {count} slices, '
            f"{Path(first[series]['path']).name}...)"
            for series, count in counts.most_common(8)
        )
        raise InputError(f"{folder} holds {len(counts)} series: {listed}. Put the PET one in a folder of its own.")
    modality = slices[0].get(MODALITY, "")
    if modality != "PT":
        raise InputError(f"{folder} holds {modality or 'no modality'}, not PET (PT): give the folder of a PET series.")
    return slices


def _check_slices(slices: list[Slice]) -> None:
    for found in slices:
        if int(found.get(FRAMES) or 1) > 1:
            raise InputError(
                f"{found['path']} is a multi-frame image of {found[FRAMES]} frames: one file a slice is needed. "
                "Convert it to NIfTI or NRRD."
            )
        if found.get(SAMPLES, "1") != "1":
            raise InputError(f"{found['path']} is a colour picture: give the PET slices themselves.")
        if not (found.get(POSITION) and found.get(ORIENTATION) and found.get(PIXEL_SPACING)):
            raise InputError(
                f"{found['path']} lacks its position, orientation or pixel spacing, which the geometry needs: "
                "export the series again."
            )
        bits = [int(found.get(tag) or 0) for tag in (ROWS, COLUMNS, BITS)]
        file_checks.check_claim(np.prod(bits, dtype=object) // 8, int(found["holds"]), found["path"])
        file_checks.check_spacing((*_numbers(found, PIXEL_SPACING, 2), 1.0), found["path"])
        if _layout(found) != _layout(slices[0]):
            raise InputError(
                f"{found['path']} differs in size, pixel spacing or orientation from {Path(slices[0]['path']).name}: "
                "all slices must be alike. Take out what does not belong to the series."
            )
        if _units(found) != _units(slices[0]):
            raise InputError(
                f"{found['path']} is in {_units(found)} and {Path(slices[0]['path']).name} in {_units(slices[0])}: all "
                "slices must have one unit. Export the series again."
            )


def _layout(found: Slice) -> tuple:
    numbers = _numbers(found, PIXEL_SPACING, 2) + _numbers(found, ORIENTATION, 6)
    return found.get(ROWS), found.get(COLUMNS), *(round(number, 4) + 0.0 for number in numbers)


def _sorted(slices: list[Slice], folder: Path) -> list[Slice]:
    """The slices in order along their normal; they must be evenly spaced on one line."""
    if len(slices) == 1:
        raise InputError(f"{folder} holds a single slice: all slices of the series are needed.")
    row, column = np.reshape(_numbers(slices[0], ORIENTATION, 6), (2, 3))
    normal = np.cross(row, column)
    positions = np.array([_numbers(found, POSITION, 3) for found in slices])
    order = np.argsort(positions @ normal, kind="stable")
    slices, positions = [slices[i] for i in order], positions[order]
    heights = positions @ normal
    gaps = np.diff(heights)
    _check_gaps(slices, heights, gaps, folder)
    drift = np.abs((positions - positions[0]) @ np.stack([row, column], axis=1)).max()
    if drift > 1.0:
        raise InputError(f"{folder}: the slices shift by {drift:.1f} mm sideways (a tilted scan): resample it first.")
    return slices


def _check_gaps(slices: list[Slice], heights: np.ndarray, gaps: np.ndarray, folder: Path) -> None:
    doubled = np.count_nonzero(gaps < 1e-3)
    if doubled:
        where = int(np.argmin(gaps))
        raise InputError(
            f"{folder} holds {len(slices)} slices at {len(slices) - doubled} positions (the same at "
            f"{heights[where]:.2f} mm): a dynamic or gated scan? Put one time frame in a folder of its own."
        )
    spacing = float(np.median(gaps))
    where = int(np.argmax(np.abs(gaps - spacing)))
    if abs(gaps[where] - spacing) > GAP_TOLERANCE * spacing:
        raise InputError(
            f"{folder} has a gap of {gaps[where]:.2f} mm between slices that are {spacing:.2f} mm apart (after "
            f"{Path(slices[where]['path']).name} at {heights[where]:.2f} mm): a slice is missing. "
            "Copy the whole series again."
        )


def _units(found: Slice) -> str:
    """DICOM units; for g/ml the kind of SUV, body weight unless another is named (PS3.3 C.8.9.1)."""
    units = found.get(UNITS) or "unknown"
    if units != "GML":
        return units
    return {"BW": "SUVbw", "LBM": "SUVlbm", "LBMJAMES128": "SUVlbm"}.get(found.get(SUV_TYPE) or "BW", units)


def _dose(path: str) -> dict[str, str]:
    """Injected dose and half-life, which SimpleITK cannot reach inside their sequence; only where pydicom is there."""
    try:
        import pydicom
    except ImportError:
        return {}
    sequence = "RadiopharmaceuticalInformationSequence"
    items = pydicom.dcmread(path, force=True, specific_tags=[sequence]).get(sequence) or [{}]
    return {name: str(items[0].get(tag)) for name, tag in DOSE_TAGS.items() if items[0].get(tag) is not None}


def _suv(slices: list[Slice]) -> dict[str, str]:
    """The factor to body-weight SUV, or why there is none; by the slice acquired first."""
    try:
        import pydicom
    except ImportError:
        return {SUV_REFUSED: "SUV: pydicom is not installed (pip install 'mapdiff[dicom]')."}
    try:
        for name, tag in SAME_FOR_SUV.items():
            if len(seen := {found.get(tag, "") for found in slices}) > 1:
                raise InputError(f"SUV: {name} differs between the slices ({', '.join(sorted(seen)[:3])}).")
        earliest = min(slices, key=lambda found: tuple(_sortable(found.get(tag, "")) for tag in ACQUIRED))
        factor = suv.suv_factor(pydicom.dcmread(earliest["path"], force=True, stop_before_pixels=True))
    except InputError as error:
        return {SUV_REFUSED: str(error)}
    return {SUV_FACTOR: repr(factor)}


def _sortable(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.inf


def _numbers(found: Slice, tag: str, count: int) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in found[tag].split("\\"))
    except ValueError:
        numbers = ()
    if len(numbers) != count:
        raise InputError(
            f"{found['path']} has {found[tag]!r} in DICOM element {tag}, where {count} numbers are needed. "
            "Export the series again."
        )
    return numbers
