"""Scans in files: what is read, what is refused, and that a file is written exactly and whole or not at all."""

import gzip
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from MAPDiffLib.errors import InputError
from MAPDiffLib.scan.volume import Volume, check_volume, read_volume, write_volume
from Testing.waiting import PATIENCE_S

COS, SIN = float(np.cos(0.3)), float(np.sin(0.3))
OBLIQUE = (COS, -SIN, 0.0, SIN, COS, 0.0, 0.0, 0.0, 1.0)
FORMATS = (".nrrd", ".nii.gz", ".nii", ".mha")


def geometry(volume):
    return volume.spacing_mm, volume.origin_mm, volume.direction


def body(shape=(12, 16, 20), noise=0.0, seed=0):
    """An ellipsoid of 1000 in air."""
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    voxels = 1000.0 * ((x / 0.8) ** 2 + (y / 0.7) ** 2 + (z / 0.9) ** 2 < 1)
    return (voxels + noise * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def volume(**changes):
    facts = {"spacing_mm": (4.6875, 4.1, 3.27), "origin_mm": (-297.65625, 11.1, -881.3), "direction": OBLIQUE}
    return Volume(changes.pop("voxels", body()), **(facts | {"units": "BQML"} | changes))


def rotations(count=20):
    """Orthonormal 3 x 3 matrices from seeded random ones."""
    return [np.linalg.qr(np.random.default_rng(seed).standard_normal((3, 3)))[0] for seed in range(count)]


@pytest.mark.parametrize("suffix", FORMATS)
def test_voxels_units_and_metadata_come_back_from_every_format(tmp_path, suffix):
    given = volume(metadata={"modality": "PT", "model": "Discovery ST", "weight_kg": "71.0"})
    write_volume(given, tmp_path / f"scan{suffix}")
    found = read_volume(tmp_path / f"scan{suffix}")
    assert np.array_equal(found.voxels, given.voxels) and found.voxels.dtype == np.float32
    assert found.units == "BQML"
    assert np.allclose(np.concatenate(geometry(found)), np.concatenate(geometry(given)), rtol=1e-6, atol=1e-4)
    if "nii" not in suffix:
        assert {key: found.metadata[key] for key in given.metadata} == given.metadata
    assert [path.name for path in tmp_path.iterdir()] == [f"scan{suffix}"]


def test_a_metaimage_keeps_any_geometry_to_the_last_bit(tmp_path):
    for matrix in rotations():
        given = volume(direction=tuple(matrix.ravel()), spacing_mm=(1 / 3, 0.7, 2.1))
        write_volume(given, tmp_path / "scan.mha")
        assert geometry(read_volume(tmp_path / "scan.mha")) == geometry(given)


@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz", ".nii"])
def test_what_was_read_from_a_file_is_written_with_the_same_geometry_to_the_last_bit(tmp_path, suffix):
    for matrix in rotations():
        image = sitk.GetImageFromArray(body())
        image.SetDirection([float(value) for value in matrix.ravel()])
        image.SetSpacing((1 / 3, 0.7, 2.1))
        image.SetOrigin((-123.4, 56.78, 1000 / 7))
        sitk.WriteImage(image, str(tmp_path / f"in{suffix}"))
        given = read_volume(tmp_path / f"in{suffix}")
        by_itk = sitk.ReadImage(str(tmp_path / f"in{suffix}"))
        assert geometry(given) == (by_itk.GetSpacing(), by_itk.GetOrigin(), by_itk.GetDirection())
        write_volume(given.with_voxels(given.voxels * 2), tmp_path / f"out{suffix}")
        found = read_volume(tmp_path / f"out{suffix}")
        assert geometry(found) == geometry(given)
        assert np.array_equal(found.voxels, given.voxels * 2)


@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz"])
def test_a_geometry_changed_since_reading_is_the_one_written(tmp_path, suffix):
    write_volume(volume(), tmp_path / f"in{suffix}")
    given = read_volume(tmp_path / f"in{suffix}")
    moved = Volume(given.voxels, (2.0, 2.0, 2.0), (7.0, 8.0, 9.0), metadata=given.metadata)
    write_volume(moved, tmp_path / f"out{suffix}")
    assert geometry(read_volume(tmp_path / f"out{suffix}")) == geometry(moved)


@pytest.mark.parametrize("suffix", [".nhdr", ".mhd"])
def test_headers_with_their_voxels_beside_them_are_read_but_not_written(tmp_path, suffix):
    sitk.WriteImage(sitk.GetImageFromArray(body()), str(tmp_path / f"scan{suffix}"))
    assert np.array_equal(read_volume(tmp_path / f"scan{suffix}").voxels, body())
    assert "use .nrrd" in refusal(write_volume, volume(), tmp_path / f"out{suffix}")


@pytest.mark.parametrize("suffix", FORMATS)
def test_paths_may_hold_spaces_and_letters_of_any_language(tmp_path, suffix):
    folder = tmp_path / "Müller 検査"
    folder.mkdir()
    write_volume(volume(), folder / f"größe 1{suffix}")
    assert np.array_equal(read_volume(str(folder / f"größe 1{suffix}")).voxels, body())


def test_an_nrrd_in_another_space_keeps_its_geometry(tmp_path):
    header = (
        "NRRD0004\r\ntype: short\r\ndimension: 3\r\nspace: right-anterior-superior\r\nsizes: 4 3 2\r\n"
        "space directions: (1.1,0.3,0) (-0.3,1.1,0) (0,0,2.7)\r\nkinds: domain domain domain\r\nendian: big\r\n"
        "encoding: raw\r\nspace origin: (1.3,2.7,3.1)\r\nunits:=CNTS\r\n\r\n"
    )
    (tmp_path / "in.nrrd").write_bytes(header.encode() + np.arange(24, dtype=">i2").tobytes())
    given = read_volume(tmp_path / "in.nrrd")
    assert given.units == "CNTS" and np.array_equal(given.voxels.ravel(), np.arange(24))
    assert given.origin_mm == (-1.3, -2.7, 3.1)
    write_volume(given, tmp_path / "out.nrrd")
    assert geometry(read_volume(tmp_path / "out.nrrd")) == geometry(given)


def nifti(path, dtype="<i2", slope=0.0, intercept=0.0, spacing=(2.0, 3.0, 4.0), shape=(2, 3, 4), dims=None):
    """A NIfTI-1 file by hand: voxels 0, 1, 2, ... of `dtype`."""
    code = {"i2": 4, "f4": 16, "f8": 64, "u1": 2}[dtype[1:]]
    order = dtype[0].replace("|", "<")
    dims = dims or (3, *shape[::-1], 1, 1, 1, 1)
    header = bytearray(352)
    struct.pack_into(order + "i", header, 0, 348)
    struct.pack_into(order + "8h", header, 40, *dims)
    struct.pack_into(order + "2h", header, 70, code, np.dtype(dtype).itemsize * 8)
    struct.pack_into(order + "4f", header, 76, 1.0, *spacing)
    struct.pack_into(order + "3f", header, 108, 352.0, slope, intercept)
    header[123] = 2
    struct.pack_into(order + "h", header, 254, 1)
    for row in range(3):
        numbers = [0.0, 0.0, 0.0, 10.0]
        numbers[row] = spacing[row]
        struct.pack_into(order + "4f", header, 280 + 16 * row, *numbers)
    header[344:348] = b"n+1\0"
    data = bytes(header) + np.arange(int(np.prod(dims[1 : 1 + dims[0]]))).astype(dtype).tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("dtype", ["<i2", ">i2", ">f4", "<f8", "|u1"])
@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
def test_integers_slopes_and_either_byte_order_are_resolved(tmp_path, dtype, name):
    given = read_volume(nifti(tmp_path / name, dtype, slope=0.5, intercept=3.0))
    assert np.array_equal(given.voxels, (np.arange(24) * 0.5 + 3.0).reshape(2, 3, 4))
    assert given.spacing_mm == (2.0, 3.0, 4.0) and given.origin_mm == (-10.0, -10.0, 10.0)
    assert given.units == "unknown"
    write_volume(given, tmp_path / "out.nii.gz")
    assert geometry(read_volume(tmp_path / "out.nii.gz")) == geometry(given)


def test_only_what_cannot_name_the_patient_is_kept_from_a_file(tmp_path):
    image = sitk.GetImageFromArray(body())
    image.SetMetaData("PatientName", "Somebody")
    image.SetMetaData("model", "Vision")
    sitk.WriteImage(image, str(tmp_path / "in.nrrd"))
    given = read_volume(tmp_path / "in.nrrd")
    assert given.metadata["model"] == "Vision" and "Somebody" not in str(given.metadata)


def refusal(action, *arguments):
    with pytest.raises(InputError) as caught:
        action(*arguments)
    return str(caught.value)


def test_a_missing_path_and_an_unknown_extension_are_refused(tmp_path):
    assert "none.nii does not exist" in refusal(read_volume, tmp_path / "none.nii")
    (tmp_path / "scan.jpg").write_bytes(b"x")
    assert ".jpg" in refusal(read_volume, tmp_path / "scan.jpg")
    assert "folder that holds the DICOM slices" in refusal(read_volume, tmp_path / "scan.jpg")
    assert ".nrrd" in refusal(write_volume, volume(), tmp_path / "scan.dcm")


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_that_is_no_image_or_empty_is_refused(tmp_path, suffix):
    path = tmp_path / f"scan{suffix}"
    path.write_bytes(b"")
    assert "is empty (0 bytes)" in refusal(read_volume, path)
    path.write_bytes(b"Dear reader, this is a letter.\n" * 100)
    message = refusal(read_volume, path)
    assert path.name in message and ("not such an image" in message or "no spacing" in message)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("kept", [0.6, 0.999])
def test_a_file_cut_short_is_refused(tmp_path, suffix, kept):
    path = tmp_path / f"scan{suffix}"
    write_volume(volume(voxels=body((20, 40, 40), noise=1.0)), path)
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    message = refusal(read_volume, path)
    assert path.name in message and ("ends early" in message or "cut short" in message)


@pytest.mark.parametrize("value", [0.0, float("nan")])
def test_a_nifti_without_spacing_is_refused(tmp_path, value):
    assert "spacing" in refusal(read_volume, nifti(tmp_path / "scan.nii", spacing=(2.0, value, 4.0)))


@pytest.mark.parametrize("line", ["", "spacings: 0 1 1\n", "spacings: nan 1 1\n"])
def test_an_nrrd_without_spacing_is_refused(tmp_path, line):
    header = f"NRRD0004\ntype: float\ndimension: 3\nsizes: 4 3 2\n{line}endian: little\nencoding: raw\n\n"
    (tmp_path / "scan.nrrd").write_bytes(header.encode() + bytes(96))
    assert "spacing" in refusal(read_volume, tmp_path / "scan.nrrd")


@pytest.mark.parametrize("line", ["", "ElementSpacing = 0 1 1\n"])
def test_a_metaimage_without_spacing_is_refused(tmp_path, line):
    first = "ObjectType = Image\nNDims = 3\nBinaryData = True\nDimSize = 4 3 2\n"
    header = f"{first}{line}ElementType = MET_FLOAT\nElementDataFile = LOCAL\n"
    (tmp_path / "scan.mha").write_bytes(header.encode() + bytes(96))
    assert "spacing" in refusal(read_volume, tmp_path / "scan.mha").lower()


def test_time_frames_single_slices_and_colours_are_refused(tmp_path):
    frames = nifti(tmp_path / "frames.nii", dims=(4, 4, 3, 2, 5, 1, 1, 1))
    assert "4-D" in refusal(read_volume, frames)
    assert "single slice" in refusal(read_volume, nifti(tmp_path / "flat.nii", dims=(2, 4, 3, 1, 1, 1, 1, 1)))
    colour = sitk.GetImageFromArray(np.zeros((4, 5, 6, 3), np.uint8), isVector=True)
    sitk.WriteImage(colour, str(tmp_path / "colour.nrrd"))
    assert "3 values a voxel" in refusal(read_volume, tmp_path / "colour.nrrd")


def test_a_file_that_may_not_be_opened_is_refused(tmp_path, monkeypatch):
    def denied(self, *arguments, **keywords):
        raise PermissionError(13, "Permission denied")

    write_volume(volume(), tmp_path / "scan.nrrd")
    monkeypatch.setattr(Path, "open", denied)
    assert "Permission denied" in refusal(read_volume, tmp_path / "scan.nrrd")
    assert "choose a folder that you may write" in refusal(write_volume, volume(), tmp_path / "out.nrrd")


def test_a_folder_that_is_not_there_cannot_be_written_to(tmp_path):
    assert "there is no folder" in refusal(write_volume, volume(), tmp_path / "none" / "out.nrrd")


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_disk_that_fills_leaves_the_old_file_and_nothing_else(tmp_path, suffix):
    resource = pytest.importorskip("resource")
    path = tmp_path / f"out{suffix}"
    write_volume(volume(), path)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
        with pytest.raises(OSError, match="was not written"):
            write_volume(volume(voxels=body((40, 40, 40), noise=1.0)), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_a_failed_rename_leaves_nothing_behind(tmp_path, monkeypatch):
    def fails(source, target):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("MAPDiffLib.files.os.replace", fails)
    with pytest.raises(OSError, match="Input/output error"):
        write_volume(volume(), tmp_path / "out.nrrd")
    assert list(tmp_path.iterdir()) == []


def test_a_body_passes_the_check_even_at_a_hundredth_of_the_dose():
    check_volume(volume(voxels=body(noise=50.0), spacing_mm=(8.0, 8.0, 8.0)), "scan")
    check_volume(volume(voxels=body((24, 32, 40), noise=1500.0)), "scan")


def broken(value):
    voxels = body()
    voxels[1, 2, 3] = value
    return voxels


REFUSED = {
    "not finite": broken(np.nan),
    "z, y, x = (1, 2, 3)": broken(np.inf),
    "4 dimensions": np.ones((2, 3, 4, 5)),
    "is empty": np.ones((0, 4, 5)),
    "single slice": body((1, 16, 20)),
    "constant": np.full((8, 9, 10), 3.0),
    "mostly negative (100%": body() - 2000,
    "mostly negative": -body(),
}


@pytest.mark.parametrize("words", REFUSED)
def test_voxels_that_cannot_be_a_scan_are_refused(words):
    message = refusal(check_volume, volume(voxels=REFUSED[words]), "scan.nrrd")
    assert message.startswith("scan.nrrd") and words in message


def test_air_alone_is_refused():
    speck = np.zeros((40, 40, 40), np.float32)
    speck[20, 20, 20:22] = 1.0, 0.7
    assert "only air" in refusal(check_volume, volume(voxels=speck), "scan.nrrd")
    for seed in range(3):
        noise = np.random.default_rng(seed).standard_normal((20, 30, 30)) + 0.02
        message = refusal(check_volume, volume(voxels=noise), "scan.nrrd")
        assert "only air" in message or "mostly negative" in message


def test_a_spacing_of_zero_is_refused():
    assert "spacing" in refusal(check_volume, volume(spacing_mm=(4.0, 0.0, 4.0)), "scan.nrrd")


def test_a_compressed_scan_is_not_taken_for_the_uncompressed_one_beside_it(tmp_path):
    """The NIfTI library looks for scan.nii first, whichever of the two it is asked for."""
    for name, level in (("scan.nii", 1.0), ("scan.nii.gz", 2.0)):
        write_volume(Volume(np.full((4, 5, 6), level, np.float32), (2.0, 2.0, 2.0)), tmp_path / name)
    assert read_volume(tmp_path / "scan.nii.gz").voxels.mean() == 2.0
    assert read_volume(tmp_path / "scan.nii").voxels.mean() == 1.0


IN_TWO_THREADS = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from MAPDiffLib.errors import InputError
from MAPDiffLib.scan.volume import read_volume, write_volume

folder = Path(sys.argv[1])
scan = read_volume(folder / "scan.nrrd")

def work(thread):
    refused = 0
    for turn in range(4000):
        try:
            read_volume(folder / "bad.nrrd")
        except InputError:
            refused += 1
        if turn % 10 == 0:
            assert read_volume(folder / "scan.nrrd").voxels.shape == scan.voxels.shape
            write_volume(scan, folder / f"out-{thread}.nrrd")
    return refused

with ThreadPoolExecutor(2) as pool:
    print(*pool.map(work, range(2)))
"""


def test_two_threads_read_write_and_refuse_files_at_once(tmp_path):
    """SimpleITK by itself corrupts the process's memory then, so this is another process."""
    write_volume(volume(), tmp_path / "scan.nrrd")
    (tmp_path / "bad.nrrd").write_bytes(b"NRRD0004\nnothing\n\n")
    command = [sys.executable, "-c", IN_TWO_THREADS, str(tmp_path)]
    done = subprocess.run(command, cwd=Path(__file__).parent.parent, capture_output=True, text=True, timeout=PATIENCE_S)
    assert (done.returncode, done.stdout) == (0, "4000 4000\n"), done.stderr
