"""Restored doses as derived PT series, from series as three vendors write them, and read back by two readers."""

import json
import shutil
import subprocess

import numpy as np
import pytest
import SimpleITK as sitk

from MAPDiffLib import __version__
from MAPDiffLib.__main__ import main
from MAPDiffLib.job import RESEARCH_USE
from MAPDiffLib.scan.dicom_reader import series_files
from MAPDiffLib.scan.dicom_writer import LARGEST, Derivation, stored_values, write_series
from MAPDiffLib.scan.volume import read_volume
from Testing import pet, tiny
from Testing.recorded import real_series

pydicom = pytest.importorskip("pydicom")

DERIVATION = Derivation("1/4 dose", "Restored to 1/4 dose by MAPDiff.", 250)
SAME = (
    "StudyInstanceUID", "FrameOfReferenceUID", "PatientID", "PatientName", "PatientWeight", "StudyDate", "SeriesDate",
    "SeriesTime", "AcquisitionDate", "AcquisitionTime", "Manufacturer", "Units", "DecayCorrection", "CorrectedImage",
    "RadiopharmaceuticalInformationSequence", "FrameReferenceTime", "ActualFrameDuration", "InstanceNumber",
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "DecayFactor",
    "NumberOfSlices",
)  # fmt: skip


def body(shape=(8, 20, 22), top=30_000.0):
    """Positive noise with an empty slice at either end."""
    voxels = np.random.default_rng(0).gamma(2.0, top / 20, shape)
    voxels[0] = voxels[-1] = 0
    return voxels


@pytest.fixture(params=pet.VENDORS)
def vendor(request):
    return request.param


@pytest.fixture
def source(vendor, tmp_path):
    return pet.write_series(tmp_path / vendor, vendor, body())


def derived_from(source, voxels=None):
    """The folder of a derived series: by default of values that 16 bits cannot hold exactly, some of them negative."""
    scan = read_volume(source)
    if voxels is None:
        voxels = scan.voxels * np.float32(0.97) - np.random.default_rng(1).random(scan.voxels.shape) * 50
        voxels[2] = 0
    target = source.parent / "derived"
    write_series(scan.with_voxels(voxels), series_files(source), DERIVATION, target)
    return target, scan.with_voxels(voxels)


def in_order(folder):
    return [pydicom.dcmread(path) for path in series_files(folder)]


def test_values_survive_within_half_a_rescale_step_for_both_readers(source):
    target, given = derived_from(source)
    read = read_volume(target)
    by_itk = sitk.GetArrayFromImage(sitk.ReadImage([str(path) for path in series_files(target)]))
    for index, data in enumerate(in_order(target)):
        half_step = 0.5 * float(data.RescaleSlope)
        by_pydicom = data.pixel_array * float(data.RescaleSlope) + float(data.RescaleIntercept)
        assert np.abs(by_pydicom - given.voxels[index].astype(float)).max() <= half_step * (1 + 1e-9)
        assert np.allclose(read.voxels[index], by_pydicom, rtol=1e-6) and np.allclose(by_itk[index], by_pydicom)
    assert float(data.RescaleSlope) > 0
    for name in ("spacing_mm", "origin_mm", "direction", "units"):
        assert getattr(read, name) == getattr(given, name)


def test_suv_is_the_sources(source, vendor):
    expected = pet.PHILIPS_FACTOR if vendor == "Philips" else pet.FACTOR
    target, _ = derived_from(source)
    assert read_volume(source).suv_factor == pytest.approx(expected, rel=1e-12)
    assert read_volume(target).suv_factor == pytest.approx(expected, rel=1e-12)


def test_the_series_is_new_in_the_same_study_and_says_where_it_comes_from(source):
    target, _ = derived_from(source)
    sources, derived = in_order(source), in_order(target)
    assert len({data.SeriesInstanceUID for data in derived}) == 1
    assert len({data.SOPInstanceUID for data in sources + derived}) == 2 * len(sources)
    for old, new in zip(sources, derived, strict=True):
        assert new.SeriesInstanceUID != old.SeriesInstanceUID
        for name in SAME:
            assert new.get(name) == old.get(name), name
        assert new.ImageType[:2] == ["DERIVED", "PRIMARY"] and new.ImageType[2:] == old.ImageType[2:]
        assert new.SourceImageSequence[0].ReferencedSOPInstanceUID == old.SOPInstanceUID
        assert new.DerivationDescription == f"{RESEARCH_USE} {DERIVATION.text}" and new.ImageComments == RESEARCH_USE
        assert new.SeriesDescription == "WB AC MAPDiff 1/4 dose (research)"
        assert new.SeriesNumber == 1000 * int(old.SeriesNumber or 0) + 250
        assert new.ContributingEquipmentSequence[-1].ManufacturerModelName == "MAPDiff"
        assert f"MAPDiff {__version__}" in new.SoftwareVersions
        assert new.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
        assert new.SmallestImagePixelValue == new.pixel_array.min() and new.LargestImagePixelValue <= LARGEST
        assert "RealWorldValueMappingSequence" not in new
        assert "of no use" not in str(new) and not any(element.tag.group == 0x71 for element in new)


def test_a_description_at_its_limit_keeps_the_dose(tmp_path):
    source = pet.write_series(tmp_path / "scan", "Philips", body())
    for path in source.iterdir():
        data = pydicom.dcmread(path)
        data.SeriesDescription = "x" * 64
        data.save_as(path)
    target, _ = derived_from(source)
    assert in_order(target)[0].SeriesDescription == "x" * 36 + " MAPDiff 1/4 dose (research)"


def test_a_big_endian_source_gives_the_same(tmp_path):
    source = pet.write_series(tmp_path / "scan", "Philips", body())
    for path in source.iterdir():
        data = pydicom.dcmread(path)
        data.PixelData = np.frombuffer(data.PixelData, "<i2").astype(">i2").tobytes()
        data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRBigEndian
        pydicom.dcmwrite(path, data, implicit_vr=False, little_endian=False, force_encoding=True)
    target, given = derived_from(source)
    assert (in_order(target)[0].Rows, in_order(target)[0].NumberOfSlices) == (20, 8)
    assert np.allclose(read_volume(target).voxels, given.voxels, atol=1.0)


def test_the_slope_is_that_of_the_slice_and_of_the_volume_where_the_slice_is_empty():
    stored, slope = stored_values(np.array([[-2.0, 1.5]]), 8.0)
    assert stored.tolist() == [[-32767, 24575]] and float(slope) == pytest.approx(2 / 32767, rel=1e-9)
    stored, slope = stored_values(np.zeros((1, 2)), 8.0)
    assert stored.tolist() == [[0, 0]] and float(slope) == pytest.approx(8 / 32767, rel=1e-9)
    assert all(len(stored_values(np.array([[top]]), 1.0)[1]) <= 16 for top in (1e-7, 1 / 3, 7e8))


def test_nothing_is_left_of_a_series_that_could_not_be_finished(tmp_path):
    source = pet.write_series(tmp_path / "scan", "GE", body())
    scan, files = read_volume(source), series_files(source)
    files[3].unlink()
    with pytest.raises(OSError, match="was not written"):
        write_series(scan, files, DERIVATION, tmp_path / "derived")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scan"]


def errors_by_dciodvfy(folder, every=1):
    """Error lines of an independent validator (dicom3tools), over the slices or every so many of them."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("not installed: dciodvfy (Debian's dicom3tools)")
    done = [
        subprocess.run(["dciodvfy", path], capture_output=True, text=True) for path in series_files(folder)[::every]
    ]
    return {line for run in done for line in (run.stdout + run.stderr).splitlines() if line.startswith("Error")}


def test_an_independent_validator_finds_no_error_that_the_source_does_not_have(source):
    target, _ = derived_from(source)
    assert errors_by_dciodvfy(target) <= errors_by_dciodvfy(source)


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """The tiny scan as a GE series, in Bq/mL."""
    folder = tmp_path_factory.mktemp("scan")
    voxels = read_volume(tiny.tiny_scan(folder / "scan.mha")).voxels
    return pet.write_series(folder / "series", "GE", np.maximum(voxels, 0) * 5000, (8.0, 8.0, 8.0))


def test_restore_writes_every_dose_and_the_uncertainty_as_series_with_the_values_of_any_other_format(
    scan, bundle, tmp_path
):
    arguments = ["restore", str(scan), "--bundle", bundle, "--doses", "1/4,full", "--input-dose", "1/20", "--format"]
    assert main([*arguments, "dicom", "--output", str(tmp_path / "dicom")]) == 0
    assert main([*arguments, "nrrd", "--output", str(tmp_path / "nrrd")]) == 0
    names = ["dose-0.250", "dose-1.000", "uncertainty"]
    assert sorted(path.name for path in (tmp_path / "dicom").iterdir()) == sorted(
        [*names, "consistency.nii.gz", "report.json"]
    )
    report = json.loads((tmp_path / "dicom" / "report.json").read_text())
    assert [entry["file"] for entry in report["files"]] == names[:2] and report["uncertainty_file"] == "uncertainty"
    assert report["input"]["metadata"]["suv_factor"] == repr(read_volume(scan).suv_factor)
    seen = set()
    for name in names:
        series, volume = read_volume(tmp_path / "dicom" / name), read_volume(tmp_path / "nrrd" / f"{name}.nrrd")
        half_step = 0.5 * np.abs(volume.voxels).max(axis=(1, 2), keepdims=True) / LARGEST
        assert np.all(np.abs(series.voxels - volume.voxels) <= half_step * 1.01 + 1e-6)
        data = in_order(tmp_path / "dicom" / name)[0]
        seen.add((data.SeriesDescription, int(data.SeriesNumber)))
        assert "model tiny (weights sha256" in data.DerivationDescription and "1/20 dose" in data.DerivationDescription
    shown = {"1/4 dose": 4250, "full dose": 5000, "uncertainty": 4000}
    assert seen == {(f"WB AC MAPDiff {shows} (research)", number) for shows, number in shown.items()}


def test_a_drawn_scan_says_that_its_noise_is_synthetic_and_for_research(scan, bundle, tmp_path):
    arguments = [
        "restore",
        str(scan),
        "--bundle",
        bundle,
        "--input-dose",
        "1/20",
        "--doses",
        "1/4",
        "--format",
        "dicom",
    ]
    assert main([*arguments, "--doses-as", "both", "--output", str(tmp_path)]) == 0
    mean, drawn = (in_order(tmp_path / name)[0] for name in ("dose-0.250", "dose-0.250-scan"))
    assert drawn.SeriesDescription.endswith("MAPDiff 1/4 dose scan, synthetic noise (research)")
    assert "synthetic noise, research use" in drawn.DerivationDescription
    assert "synthetic" not in mean.SeriesDescription + mean.DerivationDescription
    assert (mean.SeriesNumber, drawn.SeriesNumber) == (4250, 4249)


def test_overwriting_replaces_whole_series_and_nothing_that_is_none(scan, bundle, tmp_path, capsys):
    arguments = ["restore", str(scan), "--bundle", bundle, "--input-dose", "1/20", "--format", "dicom", "--output"]
    assert main([*arguments, str(tmp_path), "--doses", "1/4,1"]) == 0
    before = in_order(tmp_path / "dose-1.000")[0].SeriesInstanceUID
    assert main([*arguments, str(tmp_path), "--doses", "1"]) == 2
    assert main([*arguments, str(tmp_path), "--doses", "1", "--overwrite"]) == 0
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["consistency.nii.gz", "dose-1.000", "report.json", "uncertainty"]
    assert in_order(tmp_path / "dose-1.000")[0].SeriesInstanceUID != before
    (tmp_path / "dose-1.000" / "notes.txt").write_text("mine")
    assert main([*arguments, str(tmp_path), "--doses", "1", "--overwrite"]) == 2
    assert "notes.txt" in capsys.readouterr().err and (tmp_path / "dose-1.000" / "notes.txt").is_file()


def test_dicom_out_needs_dicom_in(bundle, tmp_path, capsys):
    scan = tiny.tiny_scan(tmp_path / "scan.mha")
    assert main(["restore", str(scan), "--output", str(tmp_path / "out"), "--format", "dicom"]) == 2
    assert "needs a DICOM series" in capsys.readouterr().err and not (tmp_path / "out").exists()


def resaved(folder, change):
    for path in folder.iterdir():
        data = pydicom.dcmread(path)
        change(data)
        data.save_as(path, enforce_file_format=False)
    return folder


@pytest.mark.parametrize(
    ("name", "words"), [("SOPClassUID", "SOPClassUID missing"), ("SOPInstanceUID", "SOPInstanceUID missing")]
)
def test_a_header_that_cannot_be_carried_over_is_refused_before_the_work(bundle, tmp_path, capsys, name, words):
    source = resaved(pet.write_series(tmp_path / "scan", "GE", body()), lambda data: delattr(data, name))
    arguments = ["--bundle", bundle, "--input-dose", "1/20", "--format", "dicom", "--output", str(tmp_path / "out")]
    assert main(["restore", str(source), *arguments]) == 2
    said = capsys.readouterr().err
    assert "cannot be carried over" in said and words in said and "dose" not in said.partition("carried")[0]
    assert list((tmp_path / "out").iterdir()) == []


def with_text_of_another_kind(data):
    names = ("SeriesNumber", "SeriesDescription", "ImageType", "SoftwareVersions", "ContentTime")
    for name in (*names, "TimezoneOffsetFromUTC"):
        if name in data:
            del data[name]
        data.add_new(name, "LO", "+9900" if name == "TimezoneOffsetFromUTC" else "S4")


def test_what_is_replaced_need_not_be_sound_in_the_source(tmp_path):
    source = resaved(pet.write_series(tmp_path / "scan", "GE", body()), with_text_of_another_kind)
    scan = read_volume(source)
    write_series(scan, series_files(source), DERIVATION, tmp_path / "derived")
    first = in_order(tmp_path / "derived")[0]
    assert first.SeriesNumber == 250 and first["SeriesNumber"].VR == "IS"
    assert first.SeriesDescription == "S4 MAPDiff 1/4 dose (research)"


def test_the_real_series_makes_the_round_trip(tmp_path):
    real = real_series()
    scan = read_volume(real)
    write_series(scan, series_files(real), DERIVATION, tmp_path / "derived")
    read = read_volume(tmp_path / "derived")
    half_step = 0.5 * np.abs(scan.voxels).max(axis=(1, 2), keepdims=True) / LARGEST
    assert np.all(np.abs(read.voxels.astype(float) - scan.voxels) <= half_step * 1.01)
    assert (read.spacing_mm, read.origin_mm, read.direction) == (scan.spacing_mm, scan.origin_mm, scan.direction)
    assert read.suv_factor == scan.suv_factor
    assert errors_by_dciodvfy(tmp_path / "derived", every=25) <= errors_by_dciodvfy(real, every=25)
