"""Slices that do not lie evenly: what is read, what is said of it, and what is refused by its cause."""

import numpy as np
import pytest

from MAPDiffLib.errors import InputError
from MAPDiffLib.scan.volume import read_volume
from Testing.dicom_slices import ROWS, dicom_slice, save

pytest.importorskip("pydicom")
AXIAL = [1, 0, 0, 0, 1, 0]


def write(folder, heights, across=None, **changes):
    """Axial slices at these heights in mm, sideways by `across` mm."""
    folder.mkdir(exist_ok=True)
    for index, height in enumerate(heights):
        position = [f"{0 if across is None else across[index]:.6g}", "0", f"{height:.6g}"]
        changed = {"ImageOrientationPatient": AXIAL, "ImagePositionPatient": position} | changes
        save(dicom_slice(index, **changed), folder / f"IM{index:04d}.dcm")
    return folder


def refusal(folder):
    with pytest.raises(InputError) as caught:
        read_volume(folder)
    return str(caught.value)


def two_beds(gap_mm, each=15, spacing_mm=2.4):
    heights = np.arange(2 * each) * spacing_mm
    heights[each:] += gap_mm - spacing_mm
    return heights


def test_two_bed_positions_that_overlap_are_read_and_their_seam_is_told(tmp_path):
    scan = read_volume(write(tmp_path / "scan", two_beds(1.2)))
    (warning,) = scan.warnings
    assert "overlapping bed positions meet (after IM0014.dcm at 33.6 mm is a gap of 1.20 mm)" in warning
    assert scan.spacing_mm[2] == pytest.approx(two_beds(1.2)[-1] / 29) and "by 0.6 mm" in warning


def test_positions_rounded_to_whole_mm_are_told(tmp_path):
    scan = read_volume(write(tmp_path / "scan", np.rint(3.27 * np.arange(40))))
    assert "rounded to whole mm" in scan.warnings[0]
    fine = read_volume(write(tmp_path / "fine", np.round(3.27 * np.arange(40), 1)))
    assert fine.warnings == () and fine.spacing_mm[2] == pytest.approx(3.27, abs=0.01)


def test_two_spacings_under_ten_per_cent_apart_are_refused_when_they_add_up(tmp_path):
    index = np.arange(40)
    message = refusal(write(tmp_path / "scan", 5.0 * np.minimum(index, 20) + 5.45 * np.maximum(index - 20, 0)))
    assert "IM0020.dcm by 4.4 mm" in message
    assert "two spacings, 5.00 mm up to IM0020.dcm at 100.0 mm and 5.45 mm from there" in message


@pytest.mark.parametrize("missing", [2, 10, 20, 37])
def test_a_missing_slice_is_refused_wherever_it_is(tmp_path, missing):
    message = refusal(write(tmp_path / "scan", np.delete(2.0 * np.arange(40), missing)))
    assert f"gap of 4.00 mm between slices that are 2.00 mm apart (after IM{missing - 1:04d}.dcm" in message
    assert "a slice is missing" in message


def test_slices_whose_spacing_grows_from_one_to_the_next_are_refused(tmp_path):
    message = refusal(write(tmp_path / "scan", np.cumsum(3.0 + 0.02 * np.arange(60))))
    assert "neighbours are 3.02 to 4.18 mm apart" in message


def test_a_place_that_no_scanner_reaches_is_refused(tmp_path):
    assert "further away in mm than any scanner" in refusal(write(tmp_path / "scan", 1e200 * np.arange(5)))


def test_a_tilted_scan_is_refused_and_a_slight_one_told(tmp_path):
    heights = 3.0 * np.arange(20)
    assert "sideways (a tilted scan)" in refusal(write(tmp_path / "scan", heights, across=0.5 * heights))
    (warning,) = read_volume(write(tmp_path / "slight", heights, across=0.02 * heights)).warnings
    assert "sideways" in warning and "by 1.1 mm" in warning


def test_a_scan_with_a_wobble_under_a_tenth_of_a_slice_is_read_without_a_word(tmp_path):
    heights = 3.0 * np.arange(20) + 0.2 * np.sin(np.arange(20))
    assert read_volume(write(tmp_path / "scan", heights)).warnings == ()


@pytest.mark.parametrize("jitter", [1e-5, 1e-6, 1e-7])
def test_direction_cosines_may_differ_in_their_last_digits(tmp_path, jitter):
    random = np.random.default_rng(0)
    for index in range(8):
        angle = 0.3
        axes = np.array([np.cos(angle), np.sin(angle), 0, -np.sin(angle), np.cos(angle), 0])
        cosines = [f"{value:.8f}" for value in axes + random.uniform(-jitter, jitter, 6)]
        changes = {"ImageOrientationPatient": cosines, "ImagePositionPatient": ["0", "0", f"{5 * index}"]}
        save(dicom_slice(index, **changes), tmp_path / f"{index}.dcm")
    scan = read_volume(tmp_path)
    assert scan.warnings == () and np.allclose(scan.direction[:2], (np.cos(0.3), -np.sin(0.3)), atol=2e-5)
    columns = np.reshape(scan.direction, (3, 3))
    assert np.allclose(columns.T @ columns, np.eye(3), atol=1e-12)


def test_another_orientation_is_another_image(tmp_path):
    write(tmp_path / "scan", 3.0 * np.arange(8))
    turned = [np.cos(0.01), np.sin(0.01), 0, -np.sin(0.01), np.cos(0.01), 0]
    changes = {"ImageOrientationPatient": [f"{v:.6f}" for v in turned], "ImagePositionPatient": ["0", "0", "9"]}
    save(dicom_slice(3, **changes), tmp_path / "scan" / "IM0003.dcm")
    assert "differs in orientation" in refusal(tmp_path / "scan")


def test_slices_that_are_missing_at_an_end_are_told_by_their_announced_number(tmp_path):
    scan = read_volume(write(tmp_path / "scan", 3.0 * np.arange(30), NumberOfSlices=40))
    assert scan.voxels.shape[0] == 30
    assert scan.warnings[0].startswith("NumberOfSlices (0054,0081) is 40, and 30 slices are here.")
    assert read_volume(write(tmp_path / "whole", 3.0 * np.arange(30), NumberOfSlices=30)).warnings == ()
    more = read_volume(write(tmp_path / "more", 3.0 * np.arange(30), NumberOfSlices=20, SeriesType=["STATIC", "IMAGE"]))
    assert "NumberOfSlices (0054,0081) is 20, and 30" in more.warnings[0]
    beds = {"NumberOfSlices": 15, "SeriesType": ["WHOLE BODY", "IMAGE"]}
    assert read_volume(write(tmp_path / "beds", 3.0 * np.arange(30), **beds)).warnings == ()


def test_slices_that_are_missing_at_an_end_are_told_by_their_numbers_where_none_is_announced(tmp_path):
    def numbered(name, numbers):
        folder = tmp_path / name
        folder.mkdir()
        for index, number in enumerate(numbers):
            position = ["0", "0", f"{3 * index}"]
            changes = {"ImageOrientationPatient": AXIAL, "ImagePositionPatient": position, "InstanceNumber": number}
            save(dicom_slice(index, **changes), folder / f"{index}.dcm")
        return read_volume(folder)

    assert numbered("whole", range(1, 13)).warnings == ()
    assert "go from 5 to 12" in numbered("without the first", range(5, 13)).warnings[0]
    assert "go from 1 to 12" in numbered("without some", [1, 2, 3, 4, 5, 6, 7, 12]).warnings[0]


def test_a_series_that_was_sent_twice_is_taken_once_and_that_is_said(tmp_path):
    folder = write(tmp_path / "scan", 3.0 * np.arange(8))
    once = read_volume(folder)
    for path in list(folder.iterdir()):
        (folder / f"again-{path.name}").write_bytes(path.read_bytes())
    twice = read_volume(folder)
    assert np.array_equal(once.voxels, twice.voxels) and twice.spacing_mm == once.spacing_mm
    assert twice.warnings == ("8 of 16 slices are there twice, with the same values: one of each is taken.",)


@pytest.mark.parametrize("uid", ["1.2.3.4.5", None], ids=["one UID for all", "UIDs of their own"])
def test_images_at_one_place_are_copies_only_where_their_values_and_times_are_the_same(tmp_path, uid):
    folder = write(tmp_path / "scan", 3.0 * np.arange(8), **({"SOPInstanceUID": uid} if uid else {}))
    assert read_volume(folder).voxels.shape[0] == 8
    for index in range(8):
        changes = {"ImageOrientationPatient": AXIAL, "ImagePositionPatient": ["0", "0", f"{3 * index}"]}
        brighter = {"RescaleSlope": 3 * (0.25 + 0.5 * index)} | ({"SOPInstanceUID": uid} if uid else {})
        save(dicom_slice(index, **changes, **brighter), folder / f"frame2-{index}.dcm")
    message = refusal(folder)
    assert "16 slices at 8 positions" in message and "dynamic or gated" in message
    for index in range(8):
        changes = {"ImageOrientationPatient": AXIAL, "ImagePositionPatient": ["0", "0", f"{3 * index}"]}
        save(dicom_slice(index, FrameReferenceTime="600000", **changes), folder / f"frame2-{index}.dcm")
    assert "FrameReferenceTime missing and 600000" in refusal(folder)


def test_a_copy_of_one_plane_with_one_other_voxel_is_no_copy(tmp_path):
    folder = write(tmp_path / "scan", 3.0 * np.arange(8))
    data = bytearray((folder / "IM0004.dcm").read_bytes())
    data[-2 * ROWS] ^= 1
    (folder / "again.dcm").write_bytes(data)
    assert "different images (IM0004.dcm and again.dcm" in refusal(folder).replace(
        "again.dcm and IM0004.dcm", "IM0004.dcm and again.dcm"
    )
