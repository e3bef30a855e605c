"""DICOM files that hold what they announce, in every layout, and those that do not."""

import struct

import pytest

from MAPDiffLib.errors import InputError
from MAPDiffLib.scan.dicom_lengths import pixel_bytes
from MAPDiffLib.scan.dicom_reader import read_series
from MAPDiffLib.scan.file_checks import MOST_PACKED
from Testing.dicom_slices import COLUMNS, ROWS, dicom_slice, save

pydicom = pytest.importorskip("pydicom")
NATIVE = [  # what pydicom ships: both byte orders, with and without representations, nested and private sequences
    "CT_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "MR_small_expb.dcm", "ExplVR_BigEnd.dcm",
    "ExplVR_LitEndNoMeta.dcm", "nested_priv_SQ.dcm", "UN_sequence.dcm", "rtplan.dcm", "liver_1frame.dcm",
]  # fmt: skip


def shipped(name):
    path = pydicom.data.get_testdata_file(name, download=False)
    if path is None:
        pytest.skip(f"this pydicom does not ship {name}")
    return path


@pytest.mark.parametrize("name", NATIVE)
def test_a_sound_file_holds_the_pixels_that_pydicom_finds_in_it(name, tmp_path):
    content = pydicom.dcmread(shipped(name), force=True)
    (tmp_path / name).symlink_to(shipped(name))
    assert pixel_bytes(tmp_path / name) == len(content.get("PixelData", b""))


def test_compressed_pixels_may_unpack_to_as_much_as_deflate_can(tmp_path):
    path = tmp_path / "jpeg.dcm"
    path.symlink_to(shipped("JPEG2000.dcm"))
    assert pixel_bytes(path) == MOST_PACKED * path.stat().st_size


@pytest.fixture
def sound(tmp_path):
    path = tmp_path / "0.dcm"
    save(dicom_slice(0), path)
    assert pixel_bytes(path) == 2 * ROWS * COLUMNS
    return path


def test_a_file_cut_anywhere_in_its_last_element_is_not_whole(sound):
    content = sound.read_bytes()
    for length in (len(content) - 1, len(content) - 2 * ROWS * COLUMNS):
        sound.write_bytes(content[:length])
        with pytest.raises(ValueError, match="element 7FE0,0010 ends .* beyond the end"):
            pixel_bytes(sound)


@pytest.mark.parametrize("tag", ["PatientID", "SeriesDescription", "RadiopharmaceuticalInformationSequence"])
def test_a_length_beyond_the_end_is_refused_before_memory_is_taken_for_it(sound, tmp_path, tag):
    """A reader takes 2 GB for such a value, in a file of 4 kB."""
    content = bytearray(sound.read_bytes())
    number = pydicom.tag.Tag(tag)
    at = content.index(struct.pack("<HH", number.group, number.element))
    content[at + 4 : at + 8] = b"\0\0\xc0\x7f"  # no representation, so that the length has four bytes
    sound.write_bytes(content)
    with pytest.raises(InputError, match="0.dcm is DICOM and cannot be read .it is cut short or damaged: element"):
        read_series(tmp_path)


def test_a_length_beyond_the_end_is_seen_inside_a_sequence_too(sound):
    content = bytearray(sound.read_bytes())
    at = content.index(struct.pack("<HH", 0x0018, 0x1074))  # the injected dose, in the sequence's only item
    content[at + 4 : at + 8] = b"\0\0\xc0\x7f"
    sound.write_bytes(content)
    with pytest.raises(ValueError, match="element 0018,1074 ends"):
        pixel_bytes(sound)


def test_slices_that_announce_more_pixels_than_they_hold_are_refused(tmp_path):
    for index in range(3):
        save(dicom_slice(index, Rows=30000, Columns=30000), tmp_path / f"{index}.dcm")
    with pytest.raises(InputError, match="announces 1800000000 bytes of voxels, and it can hold at most 3168"):
        read_series(tmp_path)
