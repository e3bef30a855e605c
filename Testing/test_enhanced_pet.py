"""Enhanced PET: many frames in one file, or one in each, each frame with its place and slope in functional groups."""

import numpy as np
import pytest

from MAPDiffLib.__main__ import main
from MAPDiffLib.errors import InputError
from MAPDiffLib.scan.dicom_header import ENHANCED_PET
from MAPDiffLib.scan.volume import read_volume
from Testing.dicom_slices import COUNT, NORMAL, OBLIQUE, ORIGIN, STEP_MM, dicom_slice, slope, stored

pydicom = pytest.importorskip("pydicom")
EXPECTED = np.stack([stored(index) * slope(index) for index in range(COUNT)]).astype(np.float32)


def dataset(**values):
    data = pydicom.Dataset()
    for name, value in values.items():
        setattr(data, name, value)
    return data


def mapping(index, unit="Bq/ml", scale=1.0):
    code = dataset(CodeValue=unit, CodingSchemeDesignator="UCUM", CodeMeaning=unit)
    values = {"RealWorldValueSlope": slope(index) * scale, "RealWorldValueIntercept": 0.0}
    return dataset(MeasurementUnitsCodeSequence=[code], **values)


def frame(index, mapped=mapping, rescaled=True):
    position = [f"{value:.10g}" for value in ORIGIN + STEP_MM * index * NORMAL]
    groups = dataset(PlanePositionSequence=[dataset(ImagePositionPatient=position)])
    if rescaled:
        transformation = dataset(RescaleSlope=str(slope(index)), RescaleIntercept="0", RescaleType="US")
        groups.PixelValueTransformationSequence = [transformation]
    if mapped:
        groups.RealWorldValueMappingSequence = [mapped(index)]
    return groups


def enhanced(indices, **how):
    data = dicom_slice(0)
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "Units"):
        delattr(data, name)
    del data.RescaleIntercept, data.DecayCorrection
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = ENHANCED_PET
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    orientation = dataset(ImageOrientationPatient=OBLIQUE)
    measures = dataset(PixelSpacing=[4.0, 2.5], SliceThickness="3.5")
    data.SharedFunctionalGroupsSequence = [
        dataset(PlaneOrientationSequence=[orientation], PixelMeasuresSequence=[measures])
    ]
    data.PerFrameFunctionalGroupsSequence = [frame(index, **how) for index in indices]
    data.NumberOfFrames = len(indices)
    data.PixelData = b"".join(stored(index).tobytes() for index in indices)
    return data


def save(data, path):
    data.save_as(path, enforce_file_format=True)
    return path.parent


@pytest.mark.parametrize("compressed", [False, True], ids=["native", "RLE"])
def test_a_static_file_of_many_frames_is_read_in_the_order_of_their_places(tmp_path, compressed):
    data = enhanced([3, 0, 5, 1, 4, 2])
    if compressed:
        data.compress(pydicom.uid.RLELossless)
    scan = read_volume(save(data, tmp_path / "scan.dcm"))
    assert np.array_equal(scan.voxels, EXPECTED) and scan.units == "BQML"
    assert np.allclose(scan.spacing_mm, (2.5, 4.0, STEP_MM)) and np.allclose(scan.origin_mm, ORIGIN)
    with pytest.raises(InputError, match="not computed for Enhanced PET"):
        _ = scan.suv_factor


def test_a_series_of_files_with_one_frame_each_is_read(tmp_path):
    for index in range(COUNT):
        save(enhanced([index]), tmp_path / f"{index}.dcm")
    assert np.array_equal(read_volume(tmp_path).voxels, EXPECTED)


def test_real_world_values_serve_where_there_is_no_rescaling(tmp_path):
    scan = read_volume(save(enhanced(range(COUNT), rescaled=False), tmp_path / "scan.dcm"))
    assert np.array_equal(scan.voxels, EXPECTED)


def test_suv_by_body_weight_is_taken_as_it_is(tmp_path):
    data = enhanced(range(COUNT), mapped=lambda index: mapping(index, "{SUVbw}g/ml"))
    scan = read_volume(save(data, tmp_path / "scan.dcm"))
    assert scan.units == "SUVbw" and scan.suv_factor == 1.0


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (lambda: enhanced([0, 1, 2, 0, 1, 2]), "there twice"),
        (lambda: enhanced([0, 1, 3, 4]), "gap of 7.00 mm"),
        (lambda: enhanced(range(4), mapped=lambda index: mapping(index, scale=2.0)), "real-world slope of"),
        (lambda: enhanced(range(4), mapped=None, rescaled=False), "RescaleSlope .0028,1053. is missing"),
        (lambda: dicom_slice(0, NumberOfFrames=2, PixelData=stored(0).tobytes() * 2), "multi-frame image of 2 frames"),
    ],
    ids=["copies", "gap", "two slopes", "no slope", "frames without places"],
)
def test_what_is_told_or_refused_of_slices_is_told_or_refused_of_frames(tmp_path, data, words):
    save(data(), tmp_path / "scan.dcm")
    if words == "there twice":
        assert words in read_volume(tmp_path).warnings[0]
        return
    with pytest.raises(InputError, match=words):
        read_volume(tmp_path)


def test_two_time_frames_in_one_file_are_refused(tmp_path):
    data = enhanced([0, 1, 2, 0, 1, 2])
    data.PixelData = data.PixelData[: len(data.PixelData) // 2] + bytes(len(data.PixelData) // 2)
    with pytest.raises(InputError, match="6 slices at 3 positions.*dynamic or gated"):
        read_volume(save(data, tmp_path / "scan.dcm"))


def test_dicom_out_is_refused_before_the_work(tmp_path, capsys):
    save(enhanced(range(COUNT)), tmp_path / "scan.dcm")
    assert main(["restore", str(tmp_path), "--output", str(tmp_path / "out"), "--format", "dicom"]) == 2
    assert "scan.dcm holds several. Choose another --format" in capsys.readouterr().err
