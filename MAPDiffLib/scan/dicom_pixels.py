"""The values of a DICOM plane: stored integers, of which only the stored bits count, times the plane's own slope.

Uncompressed pixels are read here; for compressed ones GDCM gets a file of its own, without slope and geometry, so that
it neither rescales nor meets the user's path.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from MAPDiffLib.errors import InputError
from MAPDiffLib.scan import itk
from MAPDiffLib.scan.dicom_header import UNSOUND, Plane, quiet_pydicom
from MAPDiffLib.scan.plain_paths import plain_folder

CAPTURE, MULTIFRAME_CAPTURE = "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.7.3"
SHAPE = ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation")


class PlaneReader:
    """Reads planes; the frames of a file are read once while they are asked for one after the other."""

    def __init__(self):
        self._kept: dict[Path, np.ndarray] = {}

    def values(self, plane: Plane) -> np.ndarray:
        """float32 [row, column], rescaled. InputError where the pixels cannot be read."""
        if plane.path not in self._kept:
            while len(self._kept) > 1:  # two, for planes that are held against each other
                self._kept.pop(next(iter(self._kept)))
            self._kept[plane.path] = stored_values(plane)
        slope, intercept = rescale(plane)
        with np.errstate(over="ignore"):  # infinite ones are found where a volume is checked
            return (self._kept[plane.path][plane.frame] * slope + intercept).astype(np.float32)


def rescale(plane: Plane) -> tuple[float, float]:
    """Slope and intercept. InputError for a slope that is no positive number: a PET series cannot do without one.

    PS3.3 C.8.9.4: the slope is required in every slice, and differs between slices; the intercept is 0.
    """
    if not plane.text("RescaleSlope") and plane.text("RealWorldValueSlope"):
        names = "RealWorldValueSlope", "RealWorldValueIntercept"
    else:
        names = "RescaleSlope", "RescaleIntercept"
    slope = plane.numbers(names[0], 1)[0] if plane.text(names[0]) else 0.0
    if not slope > 0:
        raise InputError(
            f"{plane.path}: RescaleSlope (0028,1053) is {plane.text(names[0]) or 'missing'}; every slice of a PET "
            "series needs a finite, positive one, or its values mean nothing. Export the series again."
        )
    if names[0] == "RescaleSlope" and plane.text("RealWorldValueSlope"):
        mapped = plane.numbers("RealWorldValueSlope", 1)[0]
        if abs(mapped / slope - 1) > 1e-5:
            raise InputError(
                f"{plane.path}: its values have a rescale slope of {slope:g} and a real-world slope of {mapped:g}: "
                "which of the two gives activity cannot be told. Convert it to NIfTI with its vendor's tools."
            )
    return slope, plane.numbers(names[1], 1)[0] if plane.text(names[1]) else 0.0


def stored_values(plane: Plane) -> np.ndarray:
    """The stored integers [frame, row, column] of the plane's file. InputError where they cannot be read."""
    import pydicom

    try:
        with quiet_pydicom():
            data = pydicom.dcmread(plane.path, force=True, specific_tags=["PixelData"])
        compressed = _syntax(data).is_compressed
        content = data.get_item("PixelData")
        if content is None:
            raise ValueError("there are no pixels")
        values = _decompressed(plane, data) if compressed else _native(plane, content, data)
        if values.size != plane.frames * plane.whole("Rows", 0) * plane.whole("Columns", 0):
            raise ValueError(f"{values.size} values are there")
        return _stored_bits(values.reshape(plane.frames, plane.whole("Rows", 0), plane.whole("Columns", 0)), plane)
    except OSError as error:
        raise InputError(f"{plane.path} cannot be opened ({error.strerror or error}).") from None
    except (RuntimeError, *UNSOUND) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{plane.path}: its pixels could not be read ({itk.reason(error)}). Export the series again."
        ) from None


def _syntax(data):
    from pydicom.uid import ImplicitVRLittleEndian

    return getattr(getattr(data, "file_meta", None), "TransferSyntaxUID", ImplicitVRLittleEndian)


def _native(plane: Plane, content, data) -> np.ndarray:
    bits, signed = plane.whole("BitsAllocated", 0), plane.whole("PixelRepresentation", 0)
    if bits not in (8, 16, 32):
        raise ValueError(f"{bits} bits are allocated; 8, 16 or 32 are needed")
    order = "<" if _syntax(data).is_little_endian else ">"
    count = plane.frames * plane.whole("Rows", 0) * plane.whole("Columns", 0)
    return np.frombuffer(content.value, f"{order}{'i' if signed else 'u'}{bits // 8}", count)


def _decompressed(plane: Plane, data) -> np.ndarray:
    """By GDCM, from a file that holds nothing but the pixels."""
    import pydicom

    bare = pydicom.Dataset()
    bare.file_meta = pydicom.dataset.FileMetaDataset()
    bare.file_meta.TransferSyntaxUID = _syntax(data)
    bare.SOPClassUID = CAPTURE if plane.frames == 1 else MULTIFRAME_CAPTURE
    bare.SOPInstanceUID = pydicom.uid.generate_uid(prefix=None)
    for name in SHAPE:
        setattr(bare, name, plane.whole(name, 0))
    bare.SamplesPerPixel, bare.PhotometricInterpretation = 1, "MONOCHROME2"
    if plane.frames > 1:
        bare.NumberOfFrames = plane.frames
    bare["PixelData"] = data["PixelData"]
    with plain_folder(plane.path) as folder:
        path = folder / "plane.dcm"
        bare.save_as(path, enforce_file_format=True)
        with itk.alone_with_itk():
            return sitk.GetArrayFromImage(sitk.ReadImage(str(path), imageIO="GDCMImageIO"))


def _stored_bits(values: np.ndarray, plane: Plane) -> np.ndarray:
    """Without the bits above and below those that are stored: scanners have put overlays and nonsense there."""
    allocated = values.dtype.itemsize * 8
    stored = plane.whole("BitsStored", allocated) or allocated
    above = allocated - 1 - plane.whole("HighBit", stored - 1)
    if above < 0 or stored + above > allocated:
        raise ValueError(f"{stored} bits up to bit {plane.text('HighBit')} of {allocated} are stored")
    if stored == allocated:
        return values
    return np.right_shift(np.left_shift(values, above), allocated - stored)
