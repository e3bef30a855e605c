"""A folder of DICOM slices: positions, orientation, slopes and units as written here by pydicom."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from MAPDiffLib.__main__ import main
from MAPDiffLib.errors import InputError
from MAPDiffLib.scan.volume import check_volume, read_volume, write_volume
from Testing.dicom_slices import (
    COLUMNS,
    COUNT,
    NORMAL,
    OBLIQUE,
    ORIGIN,
    ROWS,
    STEP_MM,
    dicom_slice,
    save,
    slope,
    stored,
)
from Testing.recorded import real_series

pydicom = pytest.importorskip("pydicom")
uid = pydicom.uid


@pytest.fixture
def folder(tmp_path):
    """A whole series; names in another order than positions, an alien file beside it."""
    scan = tmp_path / "scan"
    scan.mkdir()
    for index, name in enumerate(["c", "f.dcm", "a.dcm", "e", "b.dcm", "d.IMA"]):
        save(dicom_slice(index), scan / name)
    (scan / "notes.txt").write_text("no DICOM")
    return scan


def refusal(path):
    with pytest.raises(InputError) as caught:
        read_volume(path)
    return str(caught.value)


def test_slices_are_sorted_by_position_each_with_its_own_slope(folder):
    scan = read_volume(folder)
    expected = np.stack([stored(index) * slope(index) for index in range(COUNT)])
    assert scan.voxels.dtype == np.float32 and np.array_equal(scan.voxels, expected.astype(np.float32))


def test_an_oblique_series_has_the_geometry_it_was_given(folder):
    scan = read_volume(folder)
    assert np.allclose(scan.spacing_mm, (2.5, 4.0, STEP_MM), rtol=1e-9)
    assert np.allclose(scan.origin_mm, ORIGIN, rtol=1e-9)
    axes = np.stack([OBLIQUE[:3], OBLIQUE[3:], NORMAL], axis=1)
    assert np.allclose(np.reshape(scan.direction, (3, 3)), axes, atol=1e-9)
    write_volume(scan, folder.parent / "out.mha")
    copy = read_volume(folder.parent / "out.mha")
    assert (copy.spacing_mm, copy.origin_mm, copy.direction) == (scan.spacing_mm, scan.origin_mm, scan.direction)
    assert copy.units == "BQML" and copy.metadata == scan.metadata


def test_the_report_gets_scanner_and_dose_but_not_the_patient(folder):
    scan = read_volume(folder)
    assert scan.units == "BQML"
    assert scan.metadata["model"] == "Model 1" and scan.metadata["modality"] == "PT"
    assert float(scan.metadata["weight_kg"]) == 71.0 and float(scan.metadata["dose_bq"]) == 3.5e8
    assert float(scan.metadata["half_life_s"]) == 6588.0 and scan.metadata["decay_correction"] == "START"
    assert "secret" not in str(scan.metadata).lower()


ACTIVITY = {
    "SeriesDate": "20200301", "SeriesTime": "110000", "AcquisitionDate": "20200301", "AcquisitionTime": "110000",
    "CorrectedImage": ["ATTN", "DECY"],
}  # fmt: skip


def write_activity_series(folder, of_the_first=None, **of_all):
    """Injected an hour before the scan; the slice at the lowest position was acquired last, as in a head-first scan."""
    for index in range(COUNT):
        bed = COUNT - 1 - index
        data = dicom_slice(index, **ACTIVITY | {"AcquisitionTime": f"11{10 * bed:02d}00", "FrameReferenceTime": "0"})
        data.RadiopharmaceuticalInformationSequence[0].RadiopharmaceuticalStartTime = "100000"
        for name, value in (of_all | (of_the_first if index == 0 and of_the_first else {})).items():
            setattr(data, name, value)
        save(data, folder / f"{index}.dcm")


@pytest.mark.parametrize("series_time", ["110000", "150000"], ids=["as acquired", "processed later"])
def test_the_suv_factor_is_computed_once_by_the_slice_acquired_first(tmp_path, series_time):
    write_activity_series(tmp_path, SeriesTime=series_time)
    scan = read_volume(tmp_path)
    assert scan.suv_factor == pytest.approx(71_000 / (3.5e8 * 2 ** (-3600 / 6588)), rel=1e-12)
    write_volume(scan, tmp_path / "scan.nrrd")
    assert read_volume(tmp_path / "scan.nrrd").suv_factor == scan.suv_factor


def test_a_scan_without_a_suv_factor_is_read_and_says_why_when_asked(folder, tmp_path):
    scan = read_volume(folder)
    with pytest.raises(InputError, match="Corrected Image"):
        _ = scan.suv_factor
    write_activity_series(tmp_path, of_the_first={"PatientWeight": "72"})
    with pytest.raises(InputError, match="PatientWeight differs between the slices"):
        _ = read_volume(tmp_path).suv_factor


def test_slices_of_two_units_are_refused(folder):
    save(dicom_slice(2, Units="CNTS"), folder / "a.dcm")
    assert "all slices must have one unit" in refusal(folder)


@pytest.mark.parametrize(
    ("units", "suv_type", "expected"),
    [
        ("CNTS", None, "CNTS"),
        ("GML", "BW", "SUVbw"),
        ("GML", None, "SUVbw"),
        ("GML", "LBM", "SUVlbm"),
        ("", None, "unknown"),
    ],
)
def test_dicom_units_are_carried(tmp_path, units, suv_type, expected):
    for index in range(COUNT):
        data = dicom_slice(index, Units=units)
        if suv_type:
            data.SUVType = suv_type
        save(data, tmp_path / f"{index}.dcm")
    assert read_volume(tmp_path).units == expected


@pytest.mark.parametrize("syntax", [uid.RLELossless, uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian])
def test_other_transfer_syntaxes_are_read(folder, syntax):
    expected = read_volume(folder).voxels
    for path in folder.glob("[a-f]*"):
        data = pydicom.dcmread(path)
        if syntax == uid.RLELossless:
            data.compress(syntax)
            data.save_as(path)
            continue
        if syntax == uid.ExplicitVRBigEndian:
            data.PixelData = np.frombuffer(data.PixelData, "<i2").astype(">i2").tobytes()
        data.file_meta.TransferSyntaxUID = syntax
        little = syntax.is_little_endian
        pydicom.dcmwrite(path, data, implicit_vr=syntax.is_implicit_VR, little_endian=little, force_encoding=True)
    assert np.array_equal(read_volume(folder).voxels, expected)


def compressed_by_gdcm(index, compressor, path):
    """Transfer syntax and pixel data of the stored slice as GDCM compresses it."""
    writer = sitk.ImageFileWriter()
    writer.SetFileName(str(path))
    writer.SetImageIO("GDCMImageIO")
    writer.SetUseCompression(True)
    writer.SetCompressor(compressor)
    writer.Execute(sitk.GetImageFromArray(stored(index)[None]))
    data = pydicom.dcmread(path)
    return data.file_meta.TransferSyntaxUID, data.PixelData


@pytest.mark.parametrize("compressor", ["JPEG2000", "JPEG"])
def test_compressed_slices_are_read(folder, tmp_path, compressor):
    expected = read_volume(folder).voxels
    for index, path in enumerate(sorted(folder.glob("[a-f]*"), key=lambda p: "cfaebd".index(p.name[0]))):
        data = pydicom.dcmread(path)
        data.file_meta.TransferSyntaxUID, data.PixelData = compressed_by_gdcm(index, compressor, tmp_path / "part.dcm")
        data["PixelData"].VR, data["PixelData"].is_undefined_length = "OB", True
        assert data.file_meta.TransferSyntaxUID.is_compressed
        data.save_as(path)
    assert np.array_equal(read_volume(folder).voxels, expected)


def test_a_slice_copied_twice_is_one_slice(folder):
    (folder / "copy of c").write_bytes((folder / "c").read_bytes())
    assert read_volume(folder).voxels.shape == (COUNT, ROWS, COLUMNS)


def test_two_pet_series_are_listed(folder):
    for index in range(COUNT - 1):
        save(dicom_slice(index, series="1.2.3.5", SeriesDescription="NAC"), folder / f"nac{index}.dcm")
    message = refusal(folder)
    assert "holds 2 PET series" in message and '"PT series" (PT, 6 slices' in message and '"NAC" (PT, 5' in message


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_another_modality_is_refused(tmp_path, modality):
    for index in range(COUNT):
        save(dicom_slice(index, modality=modality), tmp_path / f"{index}.dcm")
    message = refusal(tmp_path)
    assert f'"{modality} series" ({modality}, {COUNT} slices' in message and "not PET" in message


def test_a_missing_slice_is_refused(folder):
    (folder / "e").unlink()
    message = refusal(folder)
    assert "gap of 7.00 mm" in message and "3.50 mm apart" in message and "after a.dcm" in message


def test_two_time_frames_are_refused(folder):
    for index in range(COUNT):
        save(dicom_slice(index, FrameReferenceTime="1000"), folder / f"frame2-{index}.dcm")
    message = refusal(folder)
    assert "12 slices at 6 positions" in message and "dynamic or gated" in message


def test_a_single_slice_is_refused(tmp_path):
    save(dicom_slice(0), tmp_path / "0.dcm")
    assert "single slice" in refusal(tmp_path)


def test_folders_without_dicom_are_refused(tmp_path):
    assert "no DICOM slices (0 other files)" in refusal(tmp_path)
    (tmp_path / "notes.txt").write_text("no DICOM at all")
    assert "no DICOM slices (1 other files)" in refusal(tmp_path)


def test_a_damaged_slice_is_named(folder):
    data = (folder / "f.dcm").read_bytes()
    for kept in (200, -20):
        (folder / "f.dcm").write_bytes(data[:kept])
        assert "f.dcm is DICOM and cannot be read (it is cut short" in refusal(folder)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"PixelSpacing": [0.0, 2.5]}, "spacing"),
        ({"PixelSpacing": None}, "lacks PixelSpacing"),
        ({"ImagePositionPatient": None}, "lacks ImagePositionPatient"),
        ({"ImageOrientationPatient": [1, 0, 0, 0.5, 1, 0]}, "two perpendicular vectors"),
        ({"ImageOrientationPatient": [0] * 6}, "two perpendicular vectors"),
        ({"PixelSpacing": [4.0, 2.6]}, "differs in pixel spacing"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}, "differs in orientation"),
        ({"Rows": ROWS - 1}, "differs in size"),
        ({"NumberOfFrames": 2, "PixelData": stored(2).tobytes() * 2}, "multi-frame"),
    ],
)
def test_a_slice_with_impossible_geometry_is_named(folder, changes, words):
    save(dicom_slice(2, **changes), folder / "a.dcm")
    message = refusal(folder)
    assert words in message and "a.dcm" in message


def test_slices_that_shift_sideways_are_refused(tmp_path):
    for index in range(COUNT):
        position = ORIGIN + STEP_MM * index * NORMAL + index * np.array(OBLIQUE[:3])
        save(dicom_slice(index, ImagePositionPatient=[f"{v:.8g}" for v in position]), tmp_path / f"{index}.dcm")
    assert "sideways" in refusal(tmp_path)


def test_a_slice_that_may_not_be_opened_is_named(folder, monkeypatch):
    (folder / "f.dcm").write_bytes(b"")

    def denied(self, *arguments, **keywords):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    assert "Permission denied" in refusal(folder)


def test_the_real_series_reads_in_bq_ml_as_pydicom_does():
    series = real_series()
    scan = read_volume(series)
    assert scan.voxels.shape == (267, 128, 128) and scan.units == "BQML"
    assert np.allclose(scan.spacing_mm, (4.6875, 4.6875, 3.27), atol=1e-6)
    assert scan.direction == (1, 0, 0, 0, 1, 0, 0, 0, 1)
    check_volume(scan, "sts_001_fdg_pet")
    bits = hashlib.sha256(scan.voxels.tobytes()).hexdigest()
    assert bits == "fc75fca17e8854488648ff5a45f369fcfd264e81d4d1047e0b405b3996ab7bbc"
    assert scan.spacing_mm[2] == 3.2700000225563906 and scan.suv_factor == 0.0002429029766148455
    assert scan.warnings == ()
    by_hand = 71.0 * 1000 / (388777472 * 2 ** (-(45 * 60 + 11) / 6588))  # 71 kg; 10:35:00 to 11:20:11
    assert scan.suv_factor == pytest.approx(by_hand, rel=1e-12)
    for path in sorted(series.glob("*.dcm"))[::40]:
        data = pydicom.dcmread(path)
        index = round((data.ImagePositionPatient[2] - scan.origin_mm[2]) / scan.spacing_mm[2])
        expected = data.pixel_array * float(data.RescaleSlope) + float(data.RescaleIntercept)
        assert np.allclose(scan.voxels[index], expected, rtol=1e-6, atol=1e-3)


def test_files_of_a_series_tell_its_units_and_factor_without_their_voxels(tmp_path, capsys):
    (tmp_path / "series").mkdir()
    write_activity_series(tmp_path / "series")
    files = sorted(map(str, (tmp_path / "series").iterdir()))
    (tmp_path / "list.txt").write_text("\n".join(reversed(files)) + "\n")
    assert main(["suv", f"@{tmp_path}/list.txt", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == {"units": "BQML", "suv_factor": repr(read_volume(tmp_path / "series").suv_factor)}
    assert main(["suv", *files]) == 0
    assert "BQML; SUV = value x 0.00029" in capsys.readouterr().out


def test_files_without_a_factor_tell_why(folder, tmp_path, capsys):
    assert main(["suv", *map(str, folder.iterdir())]) == 0
    assert "BQML; SUV: Corrected Image" in capsys.readouterr().out
    (tmp_path / "notes.txt").write_text("no DICOM")
    assert main(["suv", str(tmp_path / "notes.txt")]) == 2
    assert "none of the 1 files is a DICOM image" in capsys.readouterr().err
