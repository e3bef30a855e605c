"""Cohorts as they are: macOS's files, links, masks, earlier results; nothing vanishes without a word."""

from __future__ import annotations

import csv
import gzip
import io
import os
import struct
import sys
from pathlib import Path

import numpy as np
import pytest

from MAPDiffLib.__main__ import main
from MAPDiffLib.errors import InputError, NotAScan
from MAPDiffLib.jobs.batch_inputs import find_items
from MAPDiffLib.scan.volume import Volume, check_volume, read_volume, write_volume
from Testing import tiny

APPLE_DOUBLE = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        " + bytes(60)
SLICE = bytes(128) + b"DICM"


def options(bundle: str) -> list[str]:
    return ["--bundle", bundle, "--input-dose", "1/20", "--doses", "full"]


def put(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def found(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """{name: input} of the scans and {path: reason} of the rest, paths relative to the folder."""
    items, passed_over = find_items(folder, folder / "out")
    relative = {item.name: Path(item.input).relative_to(folder).as_posix() for item in items}
    return relative, {Path(one.path).relative_to(folder).as_posix(): one.reason for one in passed_over}


@pytest.mark.parametrize("twin", ["._IM{:04d}", "a{:04d}.txt", ".hidden{:04d}"])
def test_a_folder_of_slices_is_found_behind_any_number_of_other_files(tmp_path, twin):
    for number in range(30):
        put(tmp_path / "patient1" / twin.format(number), APPLE_DOUBLE)
        put(tmp_path / "patient1" / f"zIM{number:04d}", SLICE)
    scans, rest = found(tmp_path)
    assert scans == {"patient1": "patient1"}
    assert twin.startswith("a") or "30 " in rest["patient1"] and twin.format(0) in rest["patient1"]


def test_slices_without_a_preamble_and_beside_a_volume_are_found(tmp_path):
    put(tmp_path / "old" / "I1", b"\x08\x00\x05\x00" + bytes(40))
    put(tmp_path / "both" / "I1", SLICE)
    put(tmp_path / "both" / "ct.nii.gz")
    scans, rest = found(tmp_path)
    assert set(scans) == {"old", "both", "both__ct"} and rest == {}


@pytest.mark.skipif(os.name != "posix", reason="links")
def test_a_linked_patient_is_found_once_and_a_link_back_does_not_loop(tmp_path):
    put(tmp_path / "elsewhere" / "p2" / "scan.nrrd")
    put(tmp_path / "cohort" / "p1" / "scan.nrrd")
    (tmp_path / "cohort" / "p2").symlink_to(tmp_path / "elsewhere" / "p2")
    (tmp_path / "cohort" / "p1" / "up").symlink_to(tmp_path / "cohort")
    scans, rest = found(tmp_path / "cohort")
    assert set(scans) == {"p1__scan", "p2__scan"}
    assert "once more, by a link" in rest["p1/up"]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="rights that this user cannot take from itself")
def test_a_folder_that_cannot_be_listed_is_said(tmp_path):
    put(tmp_path / "p1" / "scan.nrrd")
    (tmp_path / "p2").mkdir(mode=0)
    assert "cannot be listed" in found(tmp_path)[1]["p2"]


def test_what_is_passed_over_is_counted_and_named(tmp_path):
    for name in ("p1/scan.nrrd", "p1/._scan.nrrd", "p1/.DS_Store", "p2/notes.txt", "p2/a.pdf", ".git/config"):
        put(tmp_path / name)
    for name in ("scan.mhd", "scan.raw", "scan.json"):
        put(tmp_path / "p3" / name)
    scans, rest = found(tmp_path)
    assert set(scans) == {"p1__scan", "p3__scan"}
    assert rest == {
        ".git": "hidden",
        "p1": "2 files of macOS or Windows (.DS_Store, ._scan.nrrd)",
        "p2": "2 files that are no scan (a.pdf, notes.txt)",
    }
    with pytest.raises(InputError, match=r"holds no scans.*notes.txt"):
        find_items(tmp_path / "p2", tmp_path / "out")


def test_results_of_former_runs_are_no_scans_wherever_they_lie(tmp_path, monkeypatch):
    put(tmp_path / "p1.nii.gz")
    put(tmp_path / "first run" / "summary.csv")
    for name in ("report.json", "dose-1.000.nii.gz", "uncertainty.nii.gz"):
        put(tmp_path / "first run" / "p1" / name)
    for name in ("report.json", "dose-1.000/1.dcm", "dose-0.250/1.dcm"):
        put(tmp_path / "dicom run" / name)
    put(tmp_path / "a case" / "dose-0.050.nii.gz")  # a name alone says nothing
    put(tmp_path / "out" / "p1" / "dose-1.000.nii.gz")  # of a run that was killed
    scans, rest = found(tmp_path)
    assert set(scans) == {"p1", "a_case__dose-0.050"}
    assert "3 results of an earlier restoration" in rest["first run/p1"]
    assert rest["dicom run/dose-1.000"] == "a result of an earlier restoration"
    monkeypatch.chdir(tmp_path)
    assert len(find_items(tmp_path, Path("out"))[0]) == 2  # the same folder by another path


def labels(shape=(24, 20, 20)) -> np.ndarray:
    z, y, x = np.indices(shape)
    return ((y - 10) ** 2 + (x - 10) ** 2 < 64) * (1.0 + (z > 8) + (x > 10))


@pytest.mark.parametrize("kind", ["mask", "mask of floats", "label map", "one of many labels", "small region"])
def test_label_maps_and_masks_are_no_scans(kind):
    voxels = {
        "mask": labels() > 0, "mask of floats": 0.5 * (labels() > 0), "label map": labels(),
        "one of many labels": labels() * 40 + (labels() > 0), "small region": np.pad(np.full((3, 3, 3), 2.0), 9),
    }[kind]  # fmt: skip
    with pytest.raises(NotAScan, match="label map or mask"):
        check_volume(Volume(voxels, (8.0, 8.0, 8.0)), "scan")


@pytest.mark.parametrize("kind", ["counts", "stored as integers", "few counts"])
def test_a_scan_in_whole_numbers_is_a_scan(kind):
    rng = np.random.default_rng(0)
    mean = (labels() > 0) * {"counts": 30.0, "stored as integers": 2000.0, "few counts": 2.0}[kind]
    voxels = rng.poisson(mean) if "counts" in kind else np.rint(mean * (1 + 0.2 * rng.standard_normal(mean.shape)))
    check_volume(Volume(voxels, (8.0, 8.0, 8.0)), "scan")


@pytest.mark.parametrize("unit", [1.0, 3e-4, 1e6])
def test_noise_everywhere_as_of_a_low_dose_is_a_scan_in_any_unit(unit):
    voxels = (labels() > 0) * 3000.0 + np.random.default_rng(0).normal(0, 900, labels().shape)
    check_volume(Volume(voxels * unit, (8.0, 8.0, 8.0)), "scan")
    with pytest.raises(InputError, match="mostly negative"):
        check_volume(Volume((labels() > 0) * 1040.0 - 1000 + voxels / 100, (8.0, 8.0, 8.0)), "a CT")


@pytest.mark.parametrize(
    ("spacing_mm", "said"),
    [(1.6, "32 x 32 x 38 mm"), (2.4, "small animal"), (4.5, "small animal"), (8.0, None), (6.5, None)],
    ids=["mouse", "rat", "large rat", "person", "newborn"],
)
def test_a_body_smaller_than_a_newborns_is_refused_by_its_size(spacing_mm, said):
    voxels = (labels() > 0) * (1 + 0.1 * np.random.default_rng(0).standard_normal(labels().shape))
    scan = Volume(voxels, (spacing_mm,) * 3)
    if said is None:
        check_volume(scan, "scan")
    else:
        with pytest.raises(InputError, match=said):
            check_volume(scan, "scan")


def test_a_folder_of_dicom_results_with_a_ds_store_is_overwritten(tmp_path, bundle):
    pytest.importorskip("pydicom")
    from Testing import pet

    voxels = read_volume(tiny.tiny_scan(tmp_path / "scan.nrrd")).voxels * 1000
    series = pet.write_series(tmp_path / "series", "GE", np.maximum(voxels, 0), (8.0, 8.0, 8.0))
    arguments = ["restore", str(series), "--output", str(tmp_path / "out"), "--format", "dicom", *options(bundle)]
    assert main(arguments) == 0
    put(tmp_path / "out" / "dose-1.000" / ".DS_Store")
    assert main([*arguments, "--overwrite"]) == 0
    assert not (tmp_path / "out" / "dose-1.000" / ".DS_Store").exists()
    put(tmp_path / "out" / "dose-1.000" / "notes.txt")
    assert main([*arguments, "--overwrite"]) == 2


def test_a_console_without_the_letters_of_a_name_does_not_stop_a_success(tmp_path, bundle, monkeypatch):
    scan = tiny.tiny_scan(tmp_path / "検査.nrrd")
    console, errors = (io.TextIOWrapper(io.BytesIO(), encoding="cp1252") for _ in range(2))
    monkeypatch.setattr(sys, "stdout", console)
    monkeypatch.setattr(sys, "stderr", errors)
    assert main(["restore", str(scan), "--output", str(tmp_path / "検"), *options(bundle)]) == 0
    console.flush()
    assert rb"\u691c" in console.buffer.getvalue()


def slab(path: Path, **changes) -> bytes:
    """A small file of a scan with noise, as bytes."""
    write_volume(Volume(changes.pop("voxels", scan_voxels()), (8.0,) * 3, units="SUVbw", **changes), path)
    return path.read_bytes()


def scan_voxels() -> np.ndarray:
    return (labels() > 0) * (1 + 0.15 * np.random.default_rng(0).standard_normal(labels().shape)).astype(np.float32)


def with_field(nifti: bytes, at: int, kind: str, *values) -> bytes:
    """A gzipped NIfTI with other values at a byte of its header."""
    content = bytearray(gzip.decompress(nifti))
    struct.pack_into("<" + kind, content, at, *values)
    return gzip.compress(bytes(content), 1)


def test_a_cohort_of_thirty_folders_with_one_of_each_kind_gives_thirty_rows(tmp_path, bundle):
    """Whatever a folder holds, it has a row or a named omission, and the exit code is that of the failures."""
    scratch, cohort = tmp_path / "scratch", tmp_path / "cohort"
    scratch.mkdir()
    nifti = slab(scratch / "scan.nii.gz")
    nrrd, mha = slab(scratch / "scan.nrrd"), slab(scratch / "scan.mha")
    nan = scan_voxels()
    nan[3, 4, 5] = np.nan
    done = {
        "whole": ("scan.nii.gz", nifti), "nrrd": ("scan.nrrd", nrrd), "mha": ("scan.mha", mha),
        "capitals": ("scan.Nii.gz", nifti), "metres": ("scan.nii.gz", _in_metres(nifti)),
        "sheared a hair": ("scan.nii.gz", with_field(nifti, 284, "f", 0.02)), "Müller": ("scan.nrrd", nrrd),
    }  # fmt: skip
    failed = {
        "empty": ("scan.nii.gz", b""), "cut": ("scan.nii.gz", nifti[:-100]), "letter": ("scan.nrrd", b"Dear reader\n"),
        "two sizes": ("scan.nii.gz", with_field(nifti, 80, "3f", 1, 1, 1)), "nan": ("scan.nii", _raw(nan)),
        "returns": ("scan.nrrd", b"NRRD0004\r" + b"x" * 2000 + b"\r"), 
        "long": ("scan.nrrd", b"NRRD0004\n" + b"x" * 600),
        "pattern": ("scan.mha", mha.replace(b"LOCAL", b"L%s%n")), "nifti 2": ("scan.nii", bytes([28, 2, 0, 0]) + nifti),
        "slope": ("scan.nii.gz", with_field(nifti, 112, "f", np.nan)), "no slices": ("IM1.dcm", bytes(200)),
        "mouse": ("scan.nrrd", nrrd.replace(b"(8,0,0) (0,8,0)", b"(1,0,0) (0,1,0)")),
        "furlongs": ("scan.nrrd", nrrd.replace(b"endian:", b'space units: "furlong" "furlong" "furlong"\nendian:')),
        "ct": ("scan.nrrd", slab(scratch / "c.nrrd", voxels=scan_voxels() * 1000 - 1000)),
        "air": ("scan.nrrd", slab(scratch / "a.nrrd", voxels=np.random.default_rng(1).normal(0, 1, (24, 20, 20)))),
        "magic": ("scan.nii.gz", b"\x1f\x8b" + bytes(50)),
        "flat": ("scan.nrrd", slab(scratch / "f.nrrd", voxels=np.ones((9, 9, 9)))),
    }  # fmt: skip
    no_scans = {
        "mask": ("mask.nii.gz", slab(scratch / "k.nii.gz", voxels=labels() > 0)),
        "labels": ("seg.nrrd", slab(scratch / "l.nrrd", voxels=labels())), "notes": ("notes.txt", b"none"),
        "mac": ("._scan.nii.gz", APPLE_DOUBLE), "results": ("report.json", b"{}"), ".hidden": ("scan.nrrd", nrrd),
    }  # fmt: skip
    everything = done | failed | no_scans
    assert len(everything) == 30
    for folder, (name, content) in everything.items():
        put(cohort / folder / name, content)
    code = main(["batch", str(cohort), "--output", str(cohort / "out"), *options(bundle)])
    with (cohort / "out" / "summary.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    status = {next(part for part in Path(row["input"]).parts[len(cohort.parts) :]): row["status"] for row in rows}
    expected = {
        **dict.fromkeys(done, "done"),
        **dict.fromkeys(failed, "failed"),
        **dict.fromkeys(no_scans, "passed over"),
    }
    assert status == expected and len(rows) == 30
    assert code == 1 and all(row["reason"] for row in rows if row["status"] != "done")
    assert not list((cohort / "out").rglob("*.partial*"))
    assert main(["batch", str(cohort), "--output", str(cohort / "out"), *options(bundle)]) == 1  # its own are no scans


def _in_metres(nifti: bytes) -> bytes:
    content = with_field(with_field(nifti, 80, "3f", 0.008, 0.008, 0.008), 123, "B", 1)
    header = bytearray(gzip.decompress(content))
    for place in (280, 300, 320):
        struct.pack_into("<f", header, place, struct.unpack_from("<f", header, place)[0] / 1000)
    return gzip.compress(bytes(header), 1)


def _raw(voxels: np.ndarray) -> bytes:
    from Testing.volume_files import nifti

    return nifti(voxels.astype("<f4").tobytes(), dims=(3, *voxels.shape[::-1], 1, 1, 1, 1), spacing=(8, 8, 8))
