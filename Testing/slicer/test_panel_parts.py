"""The parts of the panel that need no panel: files piece by piece, tasks, one look at the main thread's share."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from Testing.slicer import standin
from Testing.slicer.panel import load_parts

pytest_plugins = ["Testing.slicer.fixtures"]


@pytest.fixture
def parts(application, monkeypatch, bundles):
    """MAPDiffPanelLib can be imported."""
    return load_parts(application, monkeypatch, bundles)


def read(path, volumefile):
    made = []

    def make(shape):
        made.append(np.zeros(shape, np.float32))
        return made[-1]

    for _piece in volumefile.readNrrd(str(path), make):
        pass
    return made[0]


def test_what_the_worker_reads_is_what_the_panel_wrote_and_back(parts, tmp_path):
    from MAPDiffPanelLib import volumefile

    from MAPDiffLib.scan.volume import read_volume, write_volume

    voxels = np.random.default_rng(0).normal(size=(60, 90, 80)).astype(np.float32)
    matrix = [[-4.0, 0.1, 0, 10], [0, 4.1, 0.2, -3], [0, 0, 4.3, 1 / 3], [0, 0, 0, 1]]
    pieces = sum(1 for _piece in volumefile.writeNrrd(str(tmp_path / "a.nrrd"), voxels, matrix, "{SUVbw}g/ml"))
    assert pieces > 1
    volume = read_volume(tmp_path / "a.nrrd")
    assert np.array_equal(volume.voxels, voxels) and volume.units == "{SUVbw}g/ml"
    columns = np.array(matrix)[:3, :3]
    assert np.allclose(np.array(volume.direction).reshape(3, 3) * volume.spacing_mm, columns)
    assert np.allclose(volume.origin_mm, [10, -3, 1 / 3])
    write_volume(volume, tmp_path / "b.nrrd")
    assert np.array_equal(read(tmp_path / "b.nrrd", volumefile), voxels)
    assert sorted(path.name for path in tmp_path.glob("*.partial")) == []


@pytest.mark.parametrize("fault, words", [("short", "ends early"), ("long", "more voxels"), ("text", "not an NRRD"),
                                          ("damaged", "damaged|ends early")])  # fmt: skip
def test_a_file_that_is_not_whole_is_refused(parts, tmp_path, fault, words):
    from MAPDiffPanelLib import volumefile

    head = b"NRRD0004\ntype: float\ndimension: 3\nsizes: 4 4 4\nencoding: gzip\nendian: little\n\n"
    data = gzip.compress(np.arange(64 + (fault == "long") * 8, dtype="<f4").tobytes())
    content = {"short": head + data[: len(data) // 2], "text": b"hello\n", "damaged": head + b"\0" * 50}
    (tmp_path / "x.nrrd").write_bytes(content.get(fault, head + data))
    with pytest.raises(volumefile.VolumeFileError, match=words):
        read(tmp_path / "x.nrrd", volumefile)


def test_steps_yield_to_the_event_loop_and_go_on_after_a_failure(parts):
    from MAPDiffPanelLib.idle_tasks import IdleTasks

    done, failures, tasks = [], [], IdleTasks()

    def slow():
        for number in range(5):
            done.append(number)
            yield

    def failing():
        yield
        raise ValueError("no")

    tasks.add(slow(), failures.append)
    tasks.add(failing(), failures.append)
    tasks.add(iter(["x"]) and slow(), failures.append)
    assert done == [] and tasks.busy
    assert standin.pump(lambda: not tasks.busy)
    assert done == [0, 1, 2, 3, 4] * 2 and [str(error) for error in failures] == ["no"]
    begun, closed = [], []

    def endless():
        try:
            while True:
                begun.append(True)
                yield
        finally:
            closed.append(True)

    tasks.add(endless(), failures.append)
    assert standin.pump(lambda: begun)
    tasks.clear()
    assert closed == [True] and not tasks.busy


def test_each_ending_says_what_happened_and_what_to_do(parts):
    from MAPDiffPanelLib import failure_messages

    assert "memory" in failure_messages.crashMessage(9, True, "")
    assert "could not be started" in failure_messages.crashMessage(-1, True, "")
    assert "device cpu" in failure_messages.crashMessage(11, True, "")
    assert "exit code 1" in failure_messages.crashMessage(1, False, "Traceback")
    for code, crashed, log in [
        (127, False, "python: cannot allocate memory for thread-local data: ABORT"),
        (6, True, "terminate called after throwing an instance of 'std::bad_alloc'"),
        (1, False, "MemoryError"),
    ]:
        assert failure_messages.crashMessage(code, crashed, log).startswith("Memory ran out.")
    message, details = failure_messages.writeFailure(PermissionError(13, "Permission denied"), "/tmp/x")
    assert "Permission denied" in message and "/tmp/x" in message and "PermissionError" in details
