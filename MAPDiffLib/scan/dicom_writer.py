"""A restored volume as a derived PT series beside its source: what a PACS takes in, and SUV software still reads.

Each slice is its source slice's header with new identity, a statement of where it comes from and new pixels. Dates,
weight, radiopharmaceutical and units stay, and with them SUV: the series time too, because START corrects to it.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np

from MAPDiffLib import __version__
from MAPDiffLib.errors import InputError
from MAPDiffLib.files import written_whole
from MAPDiffLib.job import RESEARCH_USE
from MAPDiffLib.scan import itk, suv_header
from MAPDiffLib.scan.dicom_header import UNSOUND, quiet_pydicom
from MAPDiffLib.scan.volume import Volume

Dataset = Any  # a pydicom.Dataset, which is imported late
LARGEST = 32767  # 16 bits, signed: PET knows no intercept, and a restored volume may hold negative noise
# What SUV is computed from.
KEPT_PRIVATE = (suv_header.GE_SCAN_DATETIME, suv_header.PHILIPS_SUV_FACTOR, suv_header.PHILIPS_BQML_FACTOR)
# True of the source's stored values, bytes or creator alone.
DROPPED = (
    "PixelPaddingValue", "PixelPaddingRangeLimit", "SmallestPixelValueInSeries", "LargestPixelValueInSeries",
    "RealWorldValueMappingSequence", "ModalityLUTSequence", "VOILUTSequence", "IconImageSequence",
    "DigitalSignaturesSequence", "MACParametersSequence", "InstanceCreatorUID", "DataSetTrailingPadding",
)  # fmt: skip
TEXT_LIMIT, DESCRIPTION_LIMIT = 1024, 64  # of the value representations ST and LO


@dataclass(frozen=True)
class Derivation:
    """What is said of a derived series: what it shows ("1/4 dose"), how it came about, its number beside its source's.

    The series number is a thousand times the source's plus `number` (0 to 1000), so that a study lists them in order.
    """

    shows: str
    text: str
    number: int


def write_series(volume: Volume, source: Sequence[Path], derivation: Derivation, folder: Path) -> None:
    """Writes the volume (units and geometry of `source`, the files of its slices in order) as DICOM files in `folder`.

    The folder, which must not exist, appears whole or not at all. Raises OSError when it cannot be finished, InputError
    for a source header that cannot be carried over.
    """
    import pydicom

    assert len(source) == len(volume.voxels), f"{len(source)} source slices for a volume of {volume.voxels.shape}"
    series, largest = pydicom.uid.generate_uid(prefix=None), float(np.abs(volume.voxels).max())
    try:
        with written_whole(folder) as partial:
            partial.mkdir()
            for index, (path, voxels) in enumerate(zip(source, volume.voxels, strict=True)):
                with _carried_over(path):
                    header = _derived(path, series, derivation)
                    _set_pixels(header, voxels, largest)
                    pydicom.dcmwrite(partial / f"{index + 1:04d}.dcm", header, enforce_file_format=True)
    except OSError as error:
        raise OSError(f"{folder} was not written: {itk.reason(error)}. Is the disk full?") from error


def check_headers(source: Sequence[Path]) -> None:
    """InputError where a slice's header cannot be carried over: what `write_series` would find out after the work."""
    import pydicom

    nothing = np.zeros((1, 1), np.float32)
    for path in source:
        with _carried_over(path):
            header = _derived(path, "1.2.3", Derivation("1/4 dose", "", 0))
            _set_pixels(header, nothing, 1.0)
            pydicom.dcmwrite(io.BytesIO(), header, enforce_file_format=True)


@contextmanager
def _carried_over(path: Path) -> Iterator[None]:
    try:
        with quiet_pydicom():
            yield
    except UNSOUND as error:
        raise InputError(
            f"{path} has a header that cannot be carried over into DICOM ({error}): choose another --format."
        ) from error


def stored_values(voxels: np.ndarray, largest: float) -> tuple[np.ndarray, str]:
    """Signed 16-bit values of a slice and the rescale slope, as the text in which DICOM holds it.

    A slice of zeros takes its slope from the volume's largest value: some readers take the first slice's for all.
    """
    from pydicom.valuerep import format_number_as_ds

    top = float(np.abs(voxels).max()) or largest or 1.0
    slope = format_number_as_ds(top / LARGEST)
    return np.rint(voxels.astype(np.float64) / float(slope)).astype("<i2"), slope


def _derived(path: Path, series: str, derivation: Derivation) -> Dataset:
    """The header of a slice of the derived series, without pixels."""
    import pydicom

    header = pydicom.dcmread(path, force=True, stop_before_pixels=True)
    if missing := [name for name in ("SOPClassUID", "SOPInstanceUID") if not header.get(name)]:
        raise ValueError(f"{' and '.join(missing)} missing: nothing can refer to it")
    _keep_what_stays_true(header)
    _set_identity(header, series, derivation)
    _set_derivation(header, derivation)
    return header


def _set(header: Dataset, **values: object) -> None:
    """Sets attributes in the kind that the standard gives them, whatever kind the source has."""
    for name, value in values.items():
        if name in header:
            del header[name]
        setattr(header, name, value)


def _keep_what_stays_true(header: Dataset) -> None:
    found = ((place, suv_header.private_element(header, place)) for place in KEPT_PRIVATE)
    kept = [(place, element) for place, element in found if element is not None]
    header.remove_private_tags()
    for (group, creator, element), found in kept:
        header.private_block(group, creator, create=True).add_new(element, found.VR, found.value)
    for name in DROPPED:
        if name in header:
            del header[name]
    for tag in [tag for tag in header.keys() if 0x6000 <= tag.group <= 0x60FF]:  # overlays are drawn on pixels
        del header[tag]


def _set_identity(header: Dataset, series: str, derivation: Derivation) -> None:
    """New series and instance, the same study, patient and frame of reference."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    header.SourceImageSequence = [_reference(header)]
    header.SOPInstanceUID, header.SeriesInstanceUID = generate_uid(prefix=None), series
    suffix = f" MAPDiff {derivation.shows} (research)"
    described = f"{header.get('SeriesDescription') or ''}"[: DESCRIPTION_LIMIT - len(suffix)] + suffix
    _set(header, SeriesNumber=1000 * _series_number(header) + derivation.number, SeriesDescription=described)
    now = _now(header)
    for name in ("InstanceCreation", "Content"):
        _set(header, **{f"{name}Date": now.strftime("%Y%m%d"), f"{name}Time": now.strftime("%H%M%S")})
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID
    header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID


def _series_number(header: Dataset) -> int:
    """The source's, 0 where it has none or a text that is no number."""
    text = str(header.get("SeriesNumber") or "")
    return min(int(text), 2_000_000) if re.fullmatch("[0-9]{1,9}", text) else 0


def _set_derivation(header: Dataset, derivation: Derivation) -> None:
    from pydicom import Dataset

    # PET knows PRIMARY alone as the second value (PS3.3 C.8.9.4.1.1); validators refuse SECONDARY.
    _set(
        header,
        ImageType=["DERIVED", "PRIMARY", *_values(header.get("ImageType"))[2:]],
        DerivationDescription=f"{RESEARCH_USE} {derivation.text}"[:TEXT_LIMIT],
        ImageComments=RESEARCH_USE,
        BurnedInAnnotation="NO",
        SoftwareVersions=[*_values(header.get("SoftwareVersions")), f"MAPDiff {__version__}"],
    )
    equipment = Dataset()
    equipment.Manufacturer, equipment.ManufacturerModelName = "MAPDiff contributors", "MAPDiff"
    equipment.SoftwareVersions = __version__
    equipment.ContributionDateTime = header.InstanceCreationDate + header.InstanceCreationTime
    equipment.ContributionDescription = derivation.text[:TEXT_LIMIT]
    equipment.PurposeOfReferenceCodeSequence = [_code("109102", "Processing Equipment")]
    header.ContributingEquipmentSequence = [*(header.get("ContributingEquipmentSequence") or []), equipment]


def _set_pixels(header: Dataset, voxels: np.ndarray, largest: float) -> None:
    stored, slope = stored_values(voxels, largest)
    _set(header, BitsAllocated=16, BitsStored=16, HighBit=15, PixelRepresentation=1)
    _set(header, RescaleSlope=slope, RescaleIntercept="0")
    for name, value in (("SmallestImagePixelValue", stored.min()), ("LargestImagePixelValue", stored.max())):
        if name in header:  # of the source it may be unsigned
            del header[name]
        header.add_new(name, "SS", int(value))
    header.PixelData = stored.tobytes()
    header["PixelData"].VR = "OW"


def _reference(header: Dataset) -> Dataset:
    from pydicom import Dataset

    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
    item.SpatialLocationsPreserved = "YES"
    item.PurposeOfReferenceCodeSequence = [_code("121322", "Source Image for Image Processing Operation")]
    return item


def _code(value: str, meaning: str) -> Dataset:
    from pydicom import Dataset

    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return item


def _now(header: Dataset) -> datetime:
    """Now, in the time zone that the header's other times are in."""
    offset = str(header.get("TimezoneOffsetFromUTC") or "").strip()
    try:
        hours, minutes = int(offset[:-2]), int(offset[0] + offset[-2:])
        return datetime.now(timezone(timedelta(hours=hours, minutes=minutes)))
    except (ValueError, IndexError):
        return datetime.now()


def _values(value: object) -> list:
    """The values of an attribute that may have none, one or several."""
    return [] if not value else [value] if isinstance(value, str) else list(value)


def check_source(folder: Path) -> None:
    """InputError, before any work, where there is nothing to take the headers of a DICOM series from."""
    if not folder.is_dir():
        raise InputError(
            f"--format dicom needs a DICOM series to take patient, study and times from, and {folder} is a file: give "
            "the folder of the series, or another --format."
        )
