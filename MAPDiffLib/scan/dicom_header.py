"""The planes of a DICOM file, each with the attributes that a series is put together by, as decoded text.

What a file says is kept as it is written: whoever needs a number asks for it, and hears which file holds none. A file
of several frames says part of it once and part of it for each frame, in functional groups (PS3.3 C.7.6.16).
"""

from __future__ import annotations

import math
import re
import struct
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from MAPDiffLib.errors import InputError
from MAPDiffLib.scan import dicom_lengths

Dataset = Any  # a pydicom.Dataset
# What pydicom raises on a header that is damaged or holds a value that its kind does not allow.
UNSOUND = (
    ArithmeticError, AttributeError, EOFError, LookupError, NotImplementedError, RecursionError, TypeError, ValueError,
    struct.error,
)  # fmt: skip
PET, ENHANCED_PET, CONVERTED_PET = (
    f"1.2.840.10008.5.1.4.1.1.{number}" for number in ("128", "130", "128.1")
)  # fmt: skip
PET_CLASSES = (PET, ENHANCED_PET, CONVERTED_PET)
DOSE = ("RadionuclideTotalDose", "RadionuclideHalfLife", "RadiopharmaceuticalStartTime")
DOSE += ("RadiopharmaceuticalStartDateTime",)
NAMES = (
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "Modality", "SeriesDescription", "Manufacturer",
    "ManufacturerModelName", "SeriesDate", "SeriesTime", "AcquisitionDate", "AcquisitionTime", "FrameReferenceTime",
    "SeriesType", "PatientWeight", "Units", "SUVType", "DecayCorrection", "InstanceNumber", "NumberOfSlices",
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns", "NumberOfFrames",
    "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "RescaleSlope", "RescaleIntercept",
)  # fmt: skip
SEQUENCES = (
    "RadiopharmaceuticalInformationSequence", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
)  # fmt: skip
UNITS_BY_CODE = {"Bq/ml": "BQML", "{SUVbw}g/ml": "GML", "g/ml{SUVbw}": "GML"}  # UCUM, as PET is coded (CID 84, 85)
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")  # a decimal string: Python knows more


@dataclass(frozen=True, eq=False)
class Plane:
    """One frame of a file: its attributes by keyword (several values with backslashes), which of the file it is."""

    path: Path
    attributes: dict[str, str]
    holds: int  # bytes of pixels that the file can hold
    frame: int = 0

    @property
    def name(self) -> str:
        """The file's name, for sentences."""
        return self.path.name if self.frames == 1 else f"{self.path.name}, frame {self.frame + 1},"

    @property
    def frames(self) -> int:
        """How many frames the file says that it has."""
        return self.whole("NumberOfFrames", 1)

    def text(self, name: str) -> str:
        """The attribute as text, "" where it is missing or empty."""
        return self.attributes.get(name, "")

    def numbers(self, name: str, count: int) -> tuple[float, ...]:
        """The attribute's `count` finite numbers. InputError where it holds something else."""
        parts = [part.strip() for part in self.text(name).split("\\")]
        numbers = tuple(float(part) for part in parts if NUMBER.fullmatch(part))
        if len(parts) != count or len(numbers) != count or not all(map(math.isfinite, numbers)):
            needed = "a number is" if count == 1 else f"{count} numbers are"
            raise InputError(
                f"{self.path}: {name} is {self.text(name)[:80]!r}, where {needed} needed. Export the series again."
            )
        return numbers

    def whole(self, name: str, missing: int) -> int:
        """The attribute as a whole number, `missing` where there is none. InputError where it holds something else."""
        if not self.text(name):
            return missing
        (number,) = self.numbers(name, 1)
        if number != int(number) or not 0 <= number < 2**31:
            raise InputError(
                f"{self.path}: {name} is {self.text(name)[:80]!r}, where a whole number is needed. Export it again."
            )
        return int(number)


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """pydicom's warnings off stderr meanwhile: a user cannot mend the values that other people's software wrote."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def read_planes(path: Path) -> list[Plane]:
    """The frames of a DICOM file; one without a size for a file that is no image, none for one that is no DICOM.

    InputError for a file that says that it is DICOM and is cut short or damaged, or that may not be opened.
    """
    import pydicom

    try:
        marked = dicom_lengths.has_mark(path)
        holds = dicom_lengths.pixel_bytes(path)
        with quiet_pydicom():
            data = pydicom.dcmread(path, force=True, stop_before_pixels=True, specific_tags=[*NAMES, *SEQUENCES])
            found, frames = _contents(data, holds)
    except OSError as error:
        raise InputError(f"{path} cannot be opened ({error.strerror or error}): check that you may read it.") from None
    except UNSOUND as error:
        if not marked:
            return []
        raise InputError(
            f"{path} is DICOM and cannot be read ({error}). If it is a slice of the series, copy or export it again; "
            "else take it out of the folder."
        ) from None
    planes = [Plane(path, found | frame, holds, index) for index, frame in enumerate(frames)]
    if "Rows" in found and planes[0].frames != len(planes):
        raise InputError(
            f"{path} is a multi-frame image of {planes[0].frames} frames and places {len(planes)} of them: one file a "
            "slice, or an Enhanced PET image with a position for each frame, is needed."
        )
    return planes


def _contents(data: Dataset, holds: int) -> tuple[dict[str, str], list[dict[str, str]]]:
    """What the file says once, and for each frame. ValueError for what is no DICOM, or PET that lost its pixels."""
    found = attributes(data)
    found.setdefault("SOPClassUID", str(getattr(data.file_meta, "MediaStorageSOPClassUID", "")))
    if not (found["SOPClassUID"] or found.get("Modality")):
        raise ValueError("it does not say what it is")
    if holds == 0 and found["SOPClassUID"] in PET_CLASSES:
        raise ValueError("it is cut short: its pixels are missing")
    frames = _frames(data) if "PerFrameFunctionalGroupsSequence" in data else [{}]
    return found | _dose(data), frames


def attributes(data: Dataset, charsets: list[str] | None = None) -> dict[str, str]:
    """What a dataset says of NAMES and DOSE, without what is empty; its sequences are not looked into."""
    charsets = charsets or _raw_text(data, "SpecificCharacterSet", []).split("\\")
    texts = {name: _raw_text(data, name, charsets) for name in (*NAMES, *DOSE) if name in data}
    return {name: text for name, text in texts.items() if text}


def decoded(value: bytes, charsets: list[str]) -> str:
    """A text in the character sets that DICOM names; a letter that they do not have never stops anybody.

    Where none is named it is UTF-8, or Latin-1 for what cannot be that: the usual undeclared ones.
    """
    from pydicom.charset import decode_bytes, python_encoding

    known = [python_encoding[name] for name in charsets if name and name in python_encoding]
    if not known and b"\x1b" not in value:
        try:
            text = value.decode("utf-8")
        except UnicodeDecodeError:
            text = value.decode("latin-1")
    else:
        with quiet_pydicom():
            text = decode_bytes(value, known or ["iso8859"], set(b"\r\n\t\f\\^="))
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def _raw_text(data: Dataset, name: str, charsets: list[str]) -> str:
    """The element as it stands in the file: conversion would drop, round or refuse what is written."""
    from pydicom.datadict import dictionary_VR

    element = data.get_item(name)
    if element is None or element.value is None:
        return ""
    if not isinstance(element.value, bytes):  # pydicom has had to look at it
        return element.value if isinstance(element.value, str) else "\\".join(map(str, _listed(element.value)))
    kind = {"US": "H", "UL": "I", "FD": "d"}.get(dictionary_VR(name).partition(" ")[0])
    if kind is None:
        return decoded(element.value, charsets)
    if len(element.value) % struct.calcsize(kind):
        raise ValueError(f"{name} has {len(element.value)} bytes")
    order, size = "<" if element.is_little_endian else ">", struct.calcsize(kind)
    numbers = struct.unpack(f"{order}{len(element.value) // size}{kind}", element.value)
    return "\\".join(map(str, numbers))


def _listed(value: object) -> list:
    return list(value) if isinstance(value, Sequence) else [value]


def _dose(data: Dataset) -> dict[str, str]:
    items = data.get("RadiopharmaceuticalInformationSequence") or []
    return {name: text for name, text in attributes(items[0]).items() if name in DOSE} if items else {}


def _frames(data: Dataset) -> list[dict[str, str]]:
    """For each frame what its functional groups and the shared ones say."""
    shared = _grouped(data.get("SharedFunctionalGroupsSequence") or [])
    return [shared | _grouped([item]) for item in data.PerFrameFunctionalGroupsSequence]


def _grouped(items: list[Dataset]) -> dict[str, str]:
    """The attributes of the macros in a functional group; each macro is a sequence of one item."""
    found: dict[str, str] = {}
    for macro in (element for item in items for element in item if element.VR == "SQ" and element.value):
        found |= attributes(macro.value[0])
        if macro.keyword == "RealWorldValueMappingSequence":
            found |= _mapping(macro.value[0])
    return found


def _mapping(item: Dataset) -> dict[str, str]:
    """Units of the real-world values, and their slope and intercept, which a frame may have instead of rescale ones."""
    codes = item.get("MeasurementUnitsCodeSequence") or [{}]
    code = str(codes[0].get("CodeValue", ""))
    found = {"Units": UNITS_BY_CODE.get(code, code), "RealWorldValueSlope": str(item.get("RealWorldValueSlope", ""))}
    return found | {"RealWorldValueIntercept": str(item.get("RealWorldValueIntercept", ""))}
