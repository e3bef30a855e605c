"""A file or a folder appears whole or not at all, and what a kill leaves is found again."""

import json
import signal
import subprocess
import sys

import pytest

from MAPDiffLib.files import clear_partials, is_partial, write_csv, write_json, write_text, written_whole
from Testing.waiting import wait_until


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_takes_its_name_when_it_is_whole_and_replaces_what_was_there(tmp_path):
    path = tmp_path / "a.nii.gz"
    path.write_text("before")
    with written_whole(path) as partial:
        assert partial.parent == tmp_path and partial.name.startswith(".") and partial.name.endswith(".nii.gz")
        partial.write_text("after")
        assert path.read_text() == "before"
    assert names_in(tmp_path) == ["a.nii.gz"] and path.read_text() == "after"


def test_a_folder_takes_its_name_when_it_is_whole(tmp_path):
    with written_whole(tmp_path / "case") as partial:
        partial.mkdir()
        (partial / "inside").write_text("")
        assert names_in(tmp_path) == [partial.name]
    assert names_in(tmp_path) == ["case"] and names_in(tmp_path / "case") == ["inside"]


@pytest.mark.parametrize("kind", ["file", "folder", "nothing"])
def test_a_failure_leaves_what_was_there_and_nothing_else(tmp_path, kind):
    path = tmp_path / "report.json"
    path.write_text("before")
    with pytest.raises(KeyError), written_whole(path) as partial:
        if kind == "file":
            partial.write_text("half")
        elif kind == "folder":
            partial.mkdir()
            (partial / "inside").write_text("")
        raise KeyError("in the middle")
    assert names_in(tmp_path) == ["report.json"] and path.read_text() == "before"


WRITING = """
import sys, time
from pathlib import Path
from MAPDiffLib.files import written_whole
held = []
for name in ("figure.png", "summary.csv", "failure.json", "dose-0.100.nii.gz", "dose-0.250"):
    held.append(written_whole(Path(sys.argv[1]) / name))
    partial = held[-1].__enter__()
    partial.mkdir() if name == "dose-0.250" else partial.write_text("half")
Path(sys.argv[1], "ready").touch()
while True:
    time.sleep(1)
"""


def test_what_a_killed_writer_leaves_is_found_by_its_name_and_nothing_else_goes(tmp_path):
    keep = [".hidden.partial", "a.partial", "dose-1.000.nii.gz", ".0123456789ab.partially"]
    for name in keep:
        (tmp_path / name).write_text("")
    process = subprocess.Popen([sys.executable, "-c", WRITING, str(tmp_path)])
    wait_until((tmp_path / "ready").exists, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (tmp_path / "ready").unlink()
    left = sorted(set(names_in(tmp_path)) - set(keep))
    assert len(left) == 5 and all(map(is_partial, left)) and not any(map(is_partial, keep))
    clear_partials(tmp_path, of="summary.csv.")
    assert len(names_in(tmp_path)) == len(keep) + 4
    clear_partials(tmp_path)
    assert names_in(tmp_path) == sorted(keep)


def test_json_and_csv_are_written_as_their_readers_expect(tmp_path):
    path = write_json({"a": float("nan"), "b": (1, tmp_path)}, tmp_path / "a.json")
    assert json.loads(path.read_text()) == {"a": None, "b": [1, str(tmp_path)]}
    rows = [{"name": "a,b", "x": 1}, {"name": "caf\udce9", "x": 2}]
    assert write_csv(rows, ("name", "x"), tmp_path / "a.csv").read_bytes() == b'name,x\r\n"a,b",1\r\ncaf\\udce9,2\r\n'
    assert write_text("ä\n", tmp_path / "a.txt").read_bytes() == b"\xc3\xa4\n"
