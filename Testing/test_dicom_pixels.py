"""Stored values and their slopes: refused where they mean nothing, otherwise those that another reader finds."""

import numpy as np
import pytest
import SimpleITK as sitk

from MAPDiffLib.errors import InputError
from MAPDiffLib.scan.volume import read_volume
from Testing.dicom_slices import COLUMNS, COUNT, ROWS, dicom_slice, save, slope, stored

pydicom = pytest.importorskip("pydicom")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # while these tests write what is not allowed


def write(folder, **changes):
    """A series whose third slice alone has the changes; a text is written as it is, None takes an attribute away."""
    folder.mkdir(exist_ok=True)
    for index in range(COUNT):
        data = dicom_slice(index)
        for name, value in changes.items() if index == 2 else ():
            if value is None:
                delattr(data, name)
            else:
                raw = value.encode() if isinstance(value, str) else value
                tag = pydicom.tag.Tag(name)
                data._dict[tag] = pydicom.dataelem.RawDataElement(tag, data[name].VR, len(raw), raw, 0, False, True)
        save(data, folder / f"{index}.dcm")
    return folder


@pytest.mark.parametrize(
    "text", ["0 ", "-1.5", "0,5 ", "nan ", "inf ", "1e999 ", "1.5x", "1_5 ", "0x1F", "1\\2 ", " ", None]
)
def test_a_slice_without_a_finite_positive_slope_is_refused_by_name(tmp_path, text):
    with pytest.raises(InputError, match=r"2\.dcm: RescaleSlope"):
        read_volume(write(tmp_path, RescaleSlope=text))


@pytest.mark.parametrize("text", ["1.25 ", " 1.25 ", "+1.25 ", "125E-2", "1.250000000000000000000", ".125e1"])
def test_a_slope_is_read_in_every_spelling_of_a_decimal_number(tmp_path, text):
    assert np.array_equal(read_volume(write(tmp_path, RescaleSlope=text)).voxels[2], stored(2) * np.float32(1.25))


def test_an_intercept_counts_and_a_missing_one_is_the_standards_zero(tmp_path):
    assert np.array_equal(read_volume(write(tmp_path, RescaleIntercept="-8")).voxels[2], stored(2) * slope(2) - 8)
    assert np.array_equal(read_volume(write(tmp_path, RescaleIntercept=None)).voxels[2], stored(2) * slope(2))
    with pytest.raises(InputError, match=r"2\.dcm: RescaleIntercept is '1,5'"):
        read_volume(write(tmp_path, RescaleIntercept="1,5 "))


def test_the_values_are_those_of_an_independent_reader(tmp_path):
    folder = write(tmp_path / "scan")
    names = [str(folder / f"{index}.dcm") for index in range(COUNT)]
    by_itk = sitk.GetArrayFromImage(sitk.ReadImage(names, sitk.sitkFloat32))
    assert np.array_equal(read_volume(folder).voxels, by_itk)


@pytest.mark.parametrize(("signed", "kind"), [(1, "<i2"), (0, "<u2")])
def test_bits_beside_the_stored_ones_do_not_count(tmp_path, signed, kind):
    values = np.random.default_rng(0).integers(-2048 if signed else 0, 2048, (COUNT, ROWS, COLUMNS))
    for index in range(COUNT):
        words = (values[index].astype(kind).view("<u2") << 2) & 0x3FFC | 0xC003  # 12 bits up to bit 13, ones around
        data = dicom_slice(index, BitsStored=12, HighBit=13, PixelRepresentation=signed, RescaleSlope="2")
        data.PixelData = words.tobytes()
        save(data, tmp_path / f"{index}.dcm")
    assert np.array_equal(read_volume(tmp_path).voxels, 2 * values)


@pytest.mark.parametrize(("bits", "kind"), [(8, "u1"), (32, "<u4")])
def test_other_widths_are_read(tmp_path, bits, kind):
    values = np.random.default_rng(0).integers(0, 2 ** min(bits, 24), (COUNT, ROWS, COLUMNS)).astype(kind)
    for index in range(COUNT):
        widths = {"BitsAllocated": bits, "BitsStored": bits, "HighBit": bits - 1, "PixelRepresentation": 0}
        data = dicom_slice(index, RescaleSlope="1", **widths)
        data.PixelData = values[index].tobytes()
        save(data, tmp_path / f"{index}.dcm")
    assert np.array_equal(read_volume(tmp_path).voxels, values)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"BitsStored": 20}, "20 bits up to bit 15 of 16"),
        ({"HighBit": 3}, "16 bits up to bit 3 of 16"),
        ({"BitsAllocated": 12}, "12 bits are allocated"),
    ],
)
def test_bits_that_cannot_be_are_refused(tmp_path, changes, words):
    for index in range(COUNT):
        save(dicom_slice(index, **changes), tmp_path / f"{index}.dcm")
    with pytest.raises(InputError, match=words):
        read_volume(tmp_path)


def test_compressed_pixels_that_are_damaged_are_refused_by_name(tmp_path):
    for index in range(COUNT):
        data = dicom_slice(index)
        data.compress(pydicom.uid.RLELossless)
        if index == 3:
            data.PixelData = pydicom.encaps.encapsulate([b"\x05" + bytes(99)])
        save(data, tmp_path / f"{index}.dcm")
    with pytest.raises(InputError, match=r"3\.dcm: its pixels could not be read"):
        read_volume(tmp_path)
