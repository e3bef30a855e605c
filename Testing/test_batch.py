"""Many scans: resumed without rework, failures named, several workers of a cluster of which one dies."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from MAPDiffLib.__main__ import main
from MAPDiffLib.errors import InputError
from MAPDiffLib.job import Job
from MAPDiffLib.jobs.batch import COLUMNS, restore_batch
from MAPDiffLib.jobs.batch_inputs import VOLUME_SUFFIXES, Item, find_items
from MAPDiffLib.jobs.output_folder import make_folder, sole_writer
from MAPDiffLib.jobs.run_job import run_job
from MAPDiffLib.scan.volume import READABLE, Volume, read_volume, write_volume
from Testing import tiny
from Testing.waiting import PATIENCE_S, WaitingJob, wait_until
from Testing.workers import peak_memory_mb

PROJECT = Path(__file__).parent.parent


def scans(folder: Path, count: int, broken: int = 0) -> Path:
    """`count` readable scans, and `broken` ones of five kinds."""
    folder.mkdir()
    first = tiny.tiny_scan(folder / "scan-00.nii.gz").read_bytes()
    for number in range(1, count):
        (folder / f"scan-{number:02d}.nii.gz").write_bytes(first)
    contents = [b"", b"no image", first[:1000], first[:-50], b"\x1f\x8b" + bytes(400)]
    for number, content in enumerate(contents[:broken]):
        (folder / f"broken-{number}.nii.gz").write_bytes(content)
    return folder


def options(bundle: str) -> list[str]:
    return ["--bundle", bundle, "--input-dose", "1/20", "--doses", "1/4,full", "--seed", "3"]


def table(output: Path) -> dict[str, dict[str, str]]:
    with (output / "summary.csv").open(newline="") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def whole(output: Path) -> set[str]:
    return {path.parent.name for path in output.glob("*/report.json")}


def test_every_format_that_is_read_is_looked_for_in_a_folder():
    assert set(VOLUME_SUFFIXES) == set(READABLE)


def test_a_folder_is_searched_for_volumes_and_folders_of_slices(tmp_path):
    for name in ("a.nii.gz", "deep/b.nrrd", "deep/c.mha", "slices/1.IMA", "slices/2.IMA", "same.mha", "same.nii"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "unnamed").mkdir()
    (tmp_path / "unnamed" / "I1").write_bytes(bytes(128) + b"DICM")
    (tmp_path / "deep" / "notes.txt").touch()
    (tmp_path / "out" / "a").mkdir(parents=True)
    (tmp_path / "out" / "a" / "dose-1.000.nii.gz").touch()
    names = {item.name: Path(item.input).name for item in find_items(tmp_path, tmp_path / "out")[0]}
    assert names == {
        "a": "a.nii.gz", "deep__b": "b.nrrd", "deep__c": "c.mha", "slices": "slices", "unnamed": "unnamed",
        "same.mha": "same.mha", "same.nii": "same.nii",
    }  # fmt: skip


def test_a_list_and_a_table_name_scans_relative_to_themselves(tmp_path):
    (tmp_path / "list.txt").write_text("# today's\nx/a.nii.gz\n\n/abs/b.nrrd\n")
    assert [(item.name, item.input) for item in find_items(tmp_path / "list.txt", tmp_path)[0]] == [
        ("x__a", str(tmp_path / "x" / "a.nii.gz")), ("abs__b", "/abs/b.nrrd"),
    ]  # fmt: skip
    rows = ["input,name,input_dose,doses", "a.nii.gz,first scan,1/20,", 'b.nii.gz,,,"1/4,full"']
    (tmp_path / "list.csv").write_text("\n".join(rows))
    assert find_items(tmp_path / "list.csv", tmp_path)[0] == [
        Item("first_scan", str(tmp_path / "a.nii.gz"), 0.05, None),
        Item("b", str(tmp_path / "b.nii.gz"), None, (0.25, 1)),
    ]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("list.csv", "path\na.nii\n", "input is needed"),
        ("list.csv", "input,input_dose\na.nii,20\n", "line 2: dose is '20'"),
        ("list.csv", "input\n", "holds no scans"),
        ("list.csv", "input,name\na.nii,x\nb.nii,x\n", "would be called 'x'"),
        ("list.txt", "\n", "holds no scans"),
    ],
)
def test_a_list_that_cannot_be_understood_is_refused(tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError) as caught:
        find_items(tmp_path / name, tmp_path / "out")
    assert words in str(caught.value)
    assert main(["batch", str(tmp_path / name), "--output", str(tmp_path / "out")]) == 2


def test_a_scan_of_a_batch_is_restored_as_it_would_be_alone(bundle, tmp_path, capsys):
    folder = scans(tmp_path / "in", 3)
    assert main(["batch", str(folder), "--output", str(tmp_path / "out"), *options(bundle)]) == 0
    assert main(["restore", str(folder / "scan-01.nii.gz"), "--output", str(tmp_path / "one"), *options(bundle)]) == 0
    for name in ("dose-0.250.nii.gz", "dose-1.000.nii.gz", "uncertainty.nii.gz"):
        alone, one_of_many = (read_volume(path / name) for path in (tmp_path / "one", tmp_path / "out" / "scan-01"))
        assert np.array_equal(alone.voxels, one_of_many.voxels)
    rows = table(tmp_path / "out")
    assert set(rows["scan-00"]) == set(COLUMNS) and {row["status"] for row in rows.values()} == {"done"}
    assert (rows["scan-00"]["input_dose"], rows["scan-00"]["dose_assumed"]) == ("0.05", "False")
    assert rows["scan-00"]["doses"] == "1/4 full"
    assert "3 of 3 scans restored" in capsys.readouterr().out


def test_twenty_scans_five_of_them_broken_and_two_kills_on_the_way(bundle, tmp_path):
    """15 whole results, 5 named failures, nothing done twice, no half file."""
    folder, output = scans(tmp_path / "in", 15, broken=5), tmp_path / "out"
    command = [sys.executable, "-m", "MAPDiffLib", "batch", str(folder), "--output", str(output), *options(bundle)]
    done_at: dict[str, int] = {}
    for more in (4, 5):  # one of them may wait for its turn, which the next scan holds
        found = os.environ | WaitingJob("progress", tmp_path, after=more).environment
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen(command, cwd=PROJECT, env=found, **silent)
        least = len(done_at) + more - 1
        wait_until(lambda least=least: len(whole(output)) >= least, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
        remember(output, done_at)
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 1 and "15 of 20 scans restored" in done.stdout
    assert whole(output) == {f"scan-{number:02d}" for number in range(15)}
    for name, when in done_at.items():
        assert (output / name / "report.json").stat().st_mtime_ns == when, f"{name} was done again"
    rows = table(output)
    failed = {name: row["reason"] for name, row in rows.items() if row["status"] == "failed"}
    assert len(rows) == 20 and set(failed) == {f"broken-{number}" for number in range(5)}
    assert all(f"{name}.nii.gz" in reason for name, reason in failed.items())
    assert all(f"failed: {name}: " in done.stderr for name in failed)
    files = {"dose-0.250.nii.gz", "dose-1.000.nii.gz", "uncertainty.nii.gz", "consistency.nii.gz", "report.json"}
    for path in output.glob("scan-*"):
        assert {file.name for file in path.iterdir()} == files
        assert read_volume(path / "dose-1.000.nii.gz").voxels.shape == (24, 20, 20)
    remember(output, done_at)
    failures = {path: path.stat().st_mtime_ns for path in output.glob("*/failure.json")}
    assert main(command[3:]) == 1  # once more: nothing to do
    assert {path: path.stat().st_mtime_ns for path in output.glob("*/failure.json")} == failures
    assert all((output / name / "report.json").stat().st_mtime_ns == when for name, when in done_at.items())


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="measures memory through /proc")
@pytest.mark.long
def test_memory_is_that_of_two_scans_however_many_there_are(bundle, tmp_path):
    """A scan with its results holds 8 MB here: what kept them would grow by that for each."""
    z, y, x = np.mgrid[:88, :64, :64]
    voxels = ((y - 32) ** 2 + (x - 32) ** 2 < 200) * (1 + 0.1 * np.random.default_rng(0).random(z.shape))
    peaks = []
    for count in (4, 24):
        folder = tmp_path / f"in-{count}"
        folder.mkdir()
        for number in range(count):
            write_volume(Volume(voxels.astype(np.float32), (6.0, 6.0, 6.0)), folder / f"scan-{number}.nrrd")
        command = [sys.executable, "-m", "MAPDiffLib", "batch", str(folder), "--output", str(tmp_path / f"out-{count}")]
        process = subprocess.Popen(
            [*command, *options(bundle)], cwd=PROJECT, env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        peaks.append(max(peak_memory_mb(process).values()))
        assert process.returncode == 0 and len(whole(tmp_path / f"out-{count}")) == count
    assert peaks[1] - peaks[0] < 80, peaks  # of 160; two at a time overlap now so, now so


def remember(output: Path, done_at: dict[str, int]) -> None:
    for path in output.glob("*/report.json"):
        done_at.setdefault(path.parent.name, path.stat().st_mtime_ns)


def test_a_mended_scan_is_restored_with_retry_and_a_failure_for_lack_of_space_in_every_run(bundle, tmp_path):
    folder, output = scans(tmp_path / "in", 1, broken=2), tmp_path / "out"
    arguments = ["batch", str(folder), "--output", str(output), *options(bundle)]
    assert main(arguments) == 1
    good = (folder / "scan-00.nii.gz").read_bytes()
    (folder / "broken-0.nii.gz").write_bytes(good)
    assert main(arguments) == 1 and "broken-0" not in whole(output)
    assert main([*arguments, "--retry"]) == 1 and whole(output) == {"scan-00", "broken-0"}
    (folder / "broken-1.nii.gz").write_bytes(good)
    failure = output / "broken-1" / "failure.json"
    failure.write_text(json.dumps({"bad_input": False, "reason": "OSError: No space left on device"}))
    assert main(arguments) == 0 and not failure.exists()


def test_overwrite_does_every_scan_again(bundle, tmp_path):
    folder, output = scans(tmp_path / "in", 2), tmp_path / "out"
    arguments = ["batch", str(folder), "--output", str(output), *options(bundle)]
    assert main(arguments) == 0
    before = {path: path.stat().st_mtime_ns for path in output.glob("*/report.json")}
    assert main([*arguments, "--overwrite"]) == 0
    assert all(path.stat().st_mtime_ns > when for path, when in before.items())


def test_two_batches_do_not_write_into_one_folder(bundle, tmp_path, capsys):
    folder, output = scans(tmp_path / "in", 1), tmp_path / "out"
    with sole_writer(make_folder(output)):
        assert main(["batch", str(folder), "--output", str(output), *options(bundle)]) == 2
    assert "another run is writing into" in capsys.readouterr().err
    assert main(["batch", str(folder), "--output", str(output), *options(bundle)]) == 0


def test_one_scan_is_read_while_another_is_restored(bundle, tmp_path):
    """The turn is held by hand: a job reads its scan meanwhile, and computes only when it gets the turn."""
    from threading import Event, Lock, Thread

    folder = scans(tmp_path / "in", 1)
    job = Job(
        input=str(folder / "scan-00.nii.gz"), output=str(tmp_path / "out"), bundle=bundle, doses=(1.0,), input_dose=0.05
    )  # fmt: skip
    turn, asked, seen = Lock(), Event(), []

    class Turn:
        def __enter__(self):
            asked.set()
            turn.acquire()

        def __exit__(self, *error):
            turn.release()

    turn.acquire()
    thread = Thread(target=run_job, args=(job, seen.append), kwargs={"turn": Turn()})
    thread.start()
    assert asked.wait(PATIENCE_S)
    assert any("Reading" in message.get("message", "") for message in seen)
    assert not [message for message in seen if message["type"] in ("progress", "dose")]
    turn.release()
    thread.join(PATIENCE_S)
    assert [message["dose"] for message in seen if message["type"] == "dose"] == [1.0]


def test_ctrl_c_ends_a_batch_with_code_3_and_the_next_run_goes_on(bundle, tmp_path):
    folder, output = scans(tmp_path / "in", 6), tmp_path / "out"
    command = [sys.executable, "-m", "MAPDiffLib", "batch", str(folder), "--output", str(output), *options(bundle)]
    waits = WaitingJob("progress", tmp_path, after=2)
    process = subprocess.Popen(
        command, cwd=PROJECT, env=os.environ | waits.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    wait_until(lambda: whole(output), process)
    process.send_signal(signal.SIGINT)
    _, log = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 3 and "Traceback" not in log
    assert {row["status"] for row in table(output).values()} == {"done", "waiting"}
    assert not list(output.glob("*/.*partial*"))
    assert main(command[3:]) == 0 and len(whole(output)) == 6


@pytest.fixture
def cluster(tmp_path):
    """A Dask scheduler and two workers, each a process that can be killed; (scheduler file, worker processes,
    what each waits for after three scans)."""
    pytest.importorskip("distributed")
    file = tmp_path / "scheduler.json"
    module = [sys.executable, "-m"]
    waits = WaitingJob("progress", tmp_path, after=3)
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | waits.environment

    def start(*command):
        return subprocess.Popen(
            [*module, *command, "--scheduler-file", str(file), "--no-dashboard"],
            cwd=PROJECT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    processes = [start("distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0")]
    try:
        wait_until(file.exists)
        worker = (
            "distributed.cli.dask_worker",
            "--host",
            "127.0.0.1",
            "--nworkers",
            "1",
            "--nthreads",
            "1",
            "--no-nanny",
        )
        processes += [start(*worker, "--name", name) for name in ("one", "two")]
        yield str(file), processes[1:], waits
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_two_workers_share_a_batch_and_one_may_die(bundle, tmp_path, cluster):
    scheduler, workers, waits = cluster
    folder, output = scans(tmp_path / "in", 12, broken=2), tmp_path / "out"
    command = [sys.executable, "-m", "MAPDiffLib", "batch", str(folder), "--output", str(output), *options(bundle)]
    command += ["--scheduler", scheduler]
    batch = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: len(whole(output)) == 6, batch)
    workers[0].send_signal(signal.SIGKILL)
    waits.let_go()
    done_at: dict[str, int] = {}
    remember(output, done_at)
    out, log = batch.communicate(timeout=PATIENCE_S)
    assert batch.returncode == 1 and "12 of 14 scans restored" in out, log
    assert 6 <= len(done_at) < 12 and workers[1].poll() is None
    assert whole(output) == {f"scan-{number:02d}" for number in range(12)}
    for name, when in done_at.items():
        assert (output / name / "report.json").stat().st_mtime_ns == when, f"{name} was done again"
    assert log.count("scan-") == 12  # each told once
    assert {name for name, row in table(output).items() if row["status"] == "failed"} == {"broken-0", "broken-1"}


def test_a_scheduler_that_does_not_answer_is_refused(bundle, tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr("MAPDiffLib.jobs.cluster.CONNECT_S", 1)
    job = Job(input="scan.nii.gz", output=str(tmp_path / "out" / "scan"), bundle=bundle)
    with pytest.raises(InputError, match="no Dask scheduler answers"):
        restore_batch([job], tmp_path / "out", scheduler="tcp://127.0.0.1:9")
