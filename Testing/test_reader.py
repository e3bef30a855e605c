"""Scans are read by a process of their own, whose death is a sentence about one scan."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from MAPDiffLib.__main__ import main
from MAPDiffLib.errors import InputError
from MAPDiffLib.jobs.reader import READER, Reader
from MAPDiffLib.scan.volume import read_volume
from Testing import pet, tiny
from Testing.volume_files import nrrd

POSIX = pytest.mark.skipif(not hasattr(os, "mkfifo") or not Path("/proc/self").exists(), reason="pipes and /proc")


@pytest.fixture
def reader():
    reader = Reader()
    yield reader
    reader._end()


@pytest.mark.parametrize("kind", [".nrrd", ".nii.gz", ".mha", "dicom"])
def test_a_scan_is_read_as_in_the_same_process(reader, tmp_path, kind):
    if kind == "dicom":
        pytest.importorskip("pydicom")
        path = pet.write_series(tmp_path / "scan", "GE", np.random.default_rng(0).random((4, 5, 6)))
    else:
        path = tiny.tiny_scan(tmp_path / f"scan{kind}")
    found, same = reader.read(path), read_volume(path)
    assert np.array_equal(found.voxels, same.voxels) and found.voxels.flags.writeable
    for name in ("spacing_mm", "origin_mm", "direction", "units", "metadata", "warnings"):
        assert getattr(found, name) == getattr(same, name)


def test_a_refusal_is_the_same_sentence_and_the_next_scan_is_read(reader, tmp_path):
    good = tiny.tiny_scan(tmp_path / "good.nrrd")
    (tmp_path / "bad.nrrd").write_bytes(b"NRRD0004\nnothing\n\n")
    with pytest.raises(InputError, match="makes no sense"):
        reader.read(tmp_path / "bad.nrrd")
    with pytest.raises(InputError, match="does not exist"):
        reader.read(tmp_path / "none.nrrd")
    assert reader.read(good).voxels.shape == (24, 20, 20)


def endless_scan(path: Path) -> Path:
    """A scan whose voxels come from a named pipe: whoever reads it waits."""
    path.write_bytes(nrrd(b"", data_file=f"{path.stem}.raw"))
    os.mkfifo(path.with_suffix(".raw"))
    return path


def kill_while_reading(scan: Path, find_reader, number: int) -> None:
    """Kills the reader once it has opened the voxels of an endless scan."""

    def kill():
        with scan.with_suffix(".raw").open("wb"):  # waits until somebody opens it for reading
            os.kill(find_reader(), number)

    threading.Thread(target=kill, daemon=True).start()


@POSIX
@pytest.mark.parametrize(
    ("number", "error", "words"),
    [
        (signal.SIGSEGV, InputError, "crashed on this file"),
        (signal.SIGABRT, InputError, "crashed on this file"),
        (signal.SIGKILL, MemoryError, "memory ran out"),
        (signal.SIGTERM, OSError, "ended by signal 15"),
    ],
)
def test_the_death_of_the_reader_is_told_by_its_kind_and_the_next_scan_is_read(reader, tmp_path, number, error, words):
    good = tiny.tiny_scan(tmp_path / "good.nrrd")
    bad = endless_scan(tmp_path / "bad.nhdr")
    kill_while_reading(bad, lambda: reader._process.pid, number)
    with pytest.raises(error, match=words) as caught:
        reader.read(bad)
    assert "bad.nhdr" in str(caught.value)
    assert reader.read(good).voxels.shape == (24, 20, 20)


@POSIX
def test_a_scan_that_crashes_the_reader_is_one_row_of_a_batch(tmp_path, bundle, capsys):
    (tmp_path / "in").mkdir()
    for name in ("a.nrrd", "c.nrrd"):
        tiny.tiny_scan(tmp_path / "in" / name)
    kill_while_reading(endless_scan(tmp_path / "in" / "b.nhdr"), lambda: READER._process.pid, signal.SIGSEGV)
    command = ["batch", str(tmp_path / "in"), "--output", str(tmp_path / "out"), "--bundle", bundle]
    assert main([*command, "--input-dose", "1/20", "--doses", "full"]) == 1
    said = capsys.readouterr()
    assert "2 of 3 scans restored" in said.out and "Traceback" not in said.err
    with (tmp_path / "out" / "summary.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert [rows[name]["status"] for name in "abc"] == ["done", "failed", "done"]
    assert "the reader crashed on this file" in rows["b"]["reason"]


@POSIX
def test_restore_says_the_crash_of_a_reader_and_ends_with_code_2(tmp_path, bundle, capsys):
    scan = endless_scan(tmp_path / "scan.nhdr")
    kill_while_reading(scan, lambda: READER._process.pid, signal.SIGSEGV)
    command = ["restore", str(scan), "--output", str(tmp_path / "out"), "--bundle", bundle, "--input-dose", "1/20"]
    assert main(command) == 2
    log = capsys.readouterr().err
    assert "the reader crashed on this file" in log and "Traceback" not in log
    assert list((tmp_path / "out").iterdir()) == []


def test_a_program_that_leaves_its_reader_running_ends_without_a_warning():
    program = "from MAPDiffLib.jobs.reader import READER; READER.begin()"
    done = subprocess.run([sys.executable, "-W", "always", "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
