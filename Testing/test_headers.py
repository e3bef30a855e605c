"""What a volume file's header says about lengths, axes, slopes and missing values is taken at its word, or refused."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from MAPDiffLib.errors import InputError
from MAPDiffLib.scan.volume import check_volume, read_volume, write_volume
from Testing.volume_files import COUNTING, METRES, MICRONS, MM, mha, nrrd, write_nifti


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        check_volume(read_volume(path), path.name)
    assert path.name in str(caught.value)
    return str(caught.value)


def diagonal(x, y, z):
    return [[x, 0, 0, -96], [0, y, 0, -96], [0, 0, z, -100]]


@pytest.mark.parametrize("units, per_mm", [(MICRONS, 1000), (METRES, 0.001), (MM, 1)])
def test_a_nifti_in_microns_or_metres_is_read_in_mm_and_written_again_to_the_last_bit(tmp_path, units, per_mm):
    found = read_volume(write_nifti(tmp_path / "scan.nii", (6 * per_mm, 6 * per_mm, 5 * per_mm), units=units))
    assert found.spacing_mm == pytest.approx((6, 6, 5))
    assert found.origin_mm[0] == pytest.approx(96 * 6)
    assert any("converted to mm" in said for said in found.warnings) == (units != MM)
    write_volume(found, tmp_path / "out.nii")
    again = read_volume(tmp_path / "out.nii")
    assert (again.spacing_mm, again.origin_mm, again.direction) == (found.spacing_mm, found.origin_mm, found.direction)


@pytest.mark.parametrize("unit, per_mm", [("cm", 0.1), ("m", 0.001), ("um", 1000), ("\u00b5m", 1000), ("mm", 1)])
def test_an_nrrd_in_another_length_is_read_in_mm(tmp_path, unit, per_mm):
    directions = f"({6 * per_mm:g},0,0) (0,{6 * per_mm:g},0) (0,0,{5 * per_mm:g})"
    changes = {"space_directions": directions, "space_origin": f"({7 * per_mm:g},0,0)"}
    (tmp_path / "scan.nrrd").write_bytes(nrrd(**changes, space_units=" ".join([f'"{unit}"'] * 3)))
    found = read_volume(tmp_path / "scan.nrrd")
    assert found.spacing_mm == pytest.approx((6, 6, 5)) and found.origin_mm == pytest.approx((7, 0, 0))
    assert bool(found.warnings) == (unit != "mm")
    write_volume(found, tmp_path / "out.nrrd")
    assert read_volume(tmp_path / "out.nrrd").spacing_mm == found.spacing_mm


def test_the_axes_of_an_nrrd_without_a_space_and_a_metaimage_may_be_in_cm_too(tmp_path):
    plain = {"space": None, "space_directions": None, "space_origin": None}
    (tmp_path / "scan.nrrd").write_bytes(nrrd(**plain, spacings="0.6 0.6 0.5", units='"cm" "cm" "cm"'))
    assert read_volume(tmp_path / "scan.nrrd").spacing_mm == pytest.approx((6, 6, 5))
    (tmp_path / "scan.mha").write_bytes(mha(ElementSpacing="0.6 0.6 0.5", Offset="1 2 3", DistanceUnits="cm"))
    found = read_volume(tmp_path / "scan.mha")
    assert found.spacing_mm == pytest.approx((6, 6, 5)) and found.origin_mm == pytest.approx((10, 20, 30))
    assert "converted to mm" in found.warnings[0]


@pytest.mark.parametrize(
    "size", [(1, 1, 1), (4, 4, 4), (0.006, 0.006, 0.005), (0, 0, 0), (np.nan, 6, 5), (6, np.inf, 5)]
)
def test_a_nifti_with_two_voxel_sizes_is_refused_naming_both(tmp_path, size):
    said = refusal(write_nifti(tmp_path / "scan.nii.gz", sform=diagonal(*size)))
    assert "6 x 6 x 5 by pixdim" in said and " x ".join(f"{value:.4g}" for value in size) + " by its sform" in said


def test_the_voxel_size_of_an_sform_that_only_aligns_to_an_atlas_does_not_matter(tmp_path):
    scan = write_nifti(tmp_path / "scan.nii", sform=diagonal(6.6, 6.6, 5.5), codes=(1, 4))
    assert read_volume(scan).spacing_mm == (6, 6, 5)


def test_axes_a_hair_from_right_angles_are_read_and_said_and_written_as_they_were(tmp_path):
    rows = [[6, 0.02, 0, -96], [0, 6, 0, -96], [0, 0, 5, -100]]
    found = read_volume(write_nifti(tmp_path / "scan.nii", sform=rows))
    assert np.array_equal(found.voxels, COUNTING)
    axes = np.reshape(found.direction, (3, 3))
    assert np.allclose(axes @ axes.T, np.eye(3), atol=1e-9)
    assert "not quite at right angles" in found.warnings[0]
    write_volume(found, tmp_path / "out.nii")
    assert (tmp_path / "out.nii").read_bytes()[280:328] == (tmp_path / "scan.nii").read_bytes()[280:328]


def test_sheared_axes_are_refused_by_how_far_they_move_the_far_corner(tmp_path):
    rows = [[6, 3.2, 0, 0], [0, 5.1, 0, 0], [0, 0, 5, 0]]
    assert "not at right angles" in refusal(write_nifti(tmp_path / "scan.nii", sform=rows, voxels=np.ones((4, 30, 30))))


@pytest.mark.parametrize("slope", [np.nan, np.inf])
def test_a_nifti_slope_that_is_no_number_is_refused_not_taken_for_one(tmp_path, slope):
    assert f"slope {slope:g}" in refusal(write_nifti(tmp_path / "scan.nii", slope=slope))


def test_the_slope_and_offset_of_a_metaimage_are_applied(tmp_path):
    changes = {"ElementToIntensityFunctionSlope": "0.5", "ElementToIntensityFunctionOffset": "3"}
    (tmp_path / "scan.mha").write_bytes(mha(COUNTING.tobytes(), **changes))
    assert np.array_equal(read_volume(tmp_path / "scan.mha").voxels, COUNTING * 0.5 + 3)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_refused_alike_in_every_format(tmp_path, value):
    voxels = COUNTING.copy()
    voxels[1, 2, 0] = voxels[3, 0, 0] = value
    (tmp_path / "scan.nrrd").write_bytes(nrrd(voxels.tobytes()))
    (tmp_path / "scan.mha").write_bytes(mha(voxels.tobytes()))
    files = [write_nifti(tmp_path / name, voxels=voxels) for name in ("scan.nii", "scan.nii.gz")]
    for path in (*files, tmp_path / "scan.nrrd", tmp_path / "scan.mha"):
        assert "has 2 voxels that are not finite" in refusal(path) and "z, y, x = (1, 2, 0)" in refusal(path)


@pytest.mark.parametrize("name", ["scan.Nii.gz", "scan.NII.GZ", "scan.Nii", "scan.Nrrd", "SCAN.MHA"])
def test_endings_in_capitals_are_endings(tmp_path, name):
    path = tmp_path / name
    if "nii" in name.lower():
        write_nifti(path)
    else:
        path.write_bytes((nrrd if "rrd" in name else mha)(COUNTING.tobytes()))
    assert np.array_equal(read_volume(path).voxels, COUNTING)


@pytest.mark.skipif(os.name != "posix", reason="names in other encodings")
@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha", ".mhd", ".nhdr"])
def test_a_folder_whose_name_is_latin_1_is_read_and_written(tmp_path, suffix):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/M\xfcller"))
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system takes names in UTF-8 only")
    sitk.WriteImage(sitk.GetImageFromArray(COUNTING), str(tmp_path / f"scan{suffix}"))
    for path in tmp_path.glob("scan.*"):
        path.rename(folder / path.name)
    found = read_volume(folder / f"scan{suffix}")
    assert np.array_equal(found.voxels, COUNTING)
    write_volume(found, folder / "out.nrrd")
    assert np.array_equal(read_volume(folder / "out.nrrd").voxels, COUNTING)


def test_a_nifti_2_is_refused_by_its_name(tmp_path):
    (tmp_path / "scan.nii").write_bytes(struct.pack("<i8s", 540, b"n+2\0\r\n\x1a\n") + bytes(600))
    assert "is NIfTI-2" in refusal(tmp_path / "scan.nii")
