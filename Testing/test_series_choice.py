"""Folders that hold more than the PET series: it is taken, what is left out is said, and what is in doubt refused."""

import pytest

from MAPDiffLib.errors import InputError
from MAPDiffLib.scan.volume import read_volume
from Testing.dicom_slices import COUNT, dicom_slice, save

pydicom = pytest.importorskip("pydicom")
uid = pydicom.uid


@pytest.fixture
def folder(tmp_path):
    for index in range(COUNT):
        save(dicom_slice(index), tmp_path / f"{index}.dcm")
    return tmp_path


def no_image(kind, modality):
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = kind
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = uid.generate_uid()
    data.Modality, data.SeriesInstanceUID, data.SeriesDescription = modality, uid.generate_uid(), f"the {modality}"
    return data


def capture(series, **changes):
    data = dicom_slice(0, series=series, **changes)
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = uid.SecondaryCaptureImageStorage
    del data.ImagePositionPatient, data.ImageOrientationPatient
    return data


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (lambda: dicom_slice(2, series="1.2.3.5", modality="CT"), '"CT series" (CT, 1 slice, Z)'),
        (lambda: dicom_slice(2, modality="CT"), '"CT series" (CT, 1 slice, Z)'),
        (lambda: no_image(uid.RTStructureSetStorage, "RTSTRUCT"), '"the RTSTRUCT" (RTSTRUCT, 1 file, Z)'),
        (lambda: no_image(uid.MediaStorageDirectoryStorage, ""), "(no modality, 1 file, Z)"),
        (lambda: no_image(uid.BasicTextSRStorage, "SR"), '"the SR" (SR, 1 file, Z)'),
        (lambda: capture("1.2.3.4"), '"PT series" (PT, 1 slice, Z)'),
        (lambda: capture("1.2.3.9", modality="PT", SamplesPerPixel=1), '"PT series" (PT, 1 slice, Z)'),
        (lambda: [capture("1.2.3.4") for _ in range(COUNT + 3)], f'"PT series" (PT, {COUNT + 3} slices, Z0...)'),
        (
            lambda: [dicom_slice(0, series=f"1.2.3.{10 + index}", modality="CT") for index in range(10)],
            '"CT series" (CT, 1 slice, Z7) and 2 more',
        ),
    ],
    ids=[
        "CT",
        "CT under the PET's UID",
        "RTSTRUCT",
        "directory",
        "report",
        "screenshot",
        "series of screenshots",
        "more screenshots than slices",
        "ten CT series",
    ],
)
def test_the_one_pet_series_is_taken_and_what_is_left_out_is_said(folder, extra, words):
    alone = read_volume(folder)
    assert alone.warnings == ()
    found = extra()
    for index, data in enumerate(found if isinstance(found, list) else ()):
        save(data, folder / f"Z{index}")
    if not isinstance(found, list):
        save(found, folder / "Z")
    mixed = read_volume(folder)
    assert (mixed.voxels == alone.voxels).all() and mixed.metadata == alone.metadata
    (warning,) = mixed.warnings
    assert f'"PT series" (PT, {COUNT} slices, 0.dcm...) is read. Left out: ' in warning and words in warning


def test_a_pet_image_that_ends_before_its_pixels_is_not_left_out(folder):
    data = dicom_slice(2)
    del data.PixelData
    save(data, folder / "2.dcm")
    with pytest.raises(InputError, match="2.dcm is DICOM and cannot be read .it is cut short: its pixels are missing"):
        read_volume(folder)


def test_a_folder_of_structures_alone_says_what_it_holds(tmp_path):
    save(no_image(uid.RTStructureSetStorage, "RTSTRUCT"), tmp_path / "Z")
    with pytest.raises(InputError, match=r'holds "the RTSTRUCT" .RTSTRUCT, 1 file, Z., not PET'):
        read_volume(tmp_path)


def test_a_deflated_file_is_said_to_be_one(folder):
    data = no_image(uid.BasicTextSRStorage, "SR")
    data.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
    save(data, folder / "Z")
    with pytest.raises(InputError, match="its content is deflated"):
        read_volume(folder)
