"""The worker as the real process that a panel starts: what it says, how it ends, what it leaves behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from MAPDiffLib.job import decode_message, read_job
from MAPDiffLib.jobs.output_folder import earlier_results
from MAPDiffLib.scan.volume import read_volume
from Testing import tiny
from Testing.waiting import PATIENCE_S, WaitingJob
from Testing.workers import worker_processes


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    return str(tiny.tiny_scan(tmp_path_factory.mktemp("scäns of 1 patient") / "scan.nrrd"))


@pytest.fixture
def start(tmp_path):
    """Starts a worker on a job.json of the given content; whatever still runs at the end of the test is killed."""
    with worker_processes() as begin:

        def on_content(*, launch=("-m", "MAPDiffLib"), preexec=None, environment=(), **content):
            job = tiny.write_job_file(tmp_path / "job.json", **{"output": str(tmp_path / "out"), **content})
            return begin(job, launch, environment, preexec)

        yield on_content


def finish(process):
    """(messages, exit code, log); standard input stays open until the worker has ended by itself."""
    lines = process.stdout.readlines()
    messages = [decode_message(line) for line in lines]
    assert None not in messages, lines
    return messages, process.wait(timeout=PATIENCE_S), process.stderr.read().decode()


def read_until(process, kind):
    while message := decode_message(process.stdout.readline()):
        if message["type"] == kind:
            return message
    raise AssertionError(f"no {kind} message; {process.stderr.read().decode()}")


def left_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_job_ends_with_code_0_and_each_dose_is_announced_when_it_is_whole(start, scan, bundle, tmp_path):
    process = start(input=scan, bundle=bundle, doses=[1, 0.1, 0.25], input_dose=0.05)
    so_far = [decode_message(process.stdout.readline())]
    while so_far[-1]["type"] != "dose":
        so_far.append(decode_message(process.stdout.readline()))
    assert so_far[0]["type"] == "status"
    dose = so_far[-1]
    assert (dose["dose"], dose["file"]) == (0.1, str(tmp_path / "out" / "dose-0.100.nrrd"))
    assert read_volume(dose["file"]).voxels.shape == (24, 20, 20)
    messages, code, log = finish(process)
    assert code == 0, log
    progress = [m for m in so_far if m["type"] == "progress"]
    fractions = [m["fraction"] for m in progress]
    assert fractions == sorted(fractions) and fractions[-1] == pytest.approx(1, abs=0.01)
    assert all(m["remaining_s"] >= 0 and m["stage"] for m in progress)
    assert [(m["dose"], m["times_counts"]) for m in messages if m["type"] == "dose"] == [(0.25, 5.0), (1.0, 20.0)]
    (taken,) = [m for m in so_far if m["type"] == "input"]
    assert (taken["dose_used"], taken["dose_assumed"]) == (0.05, False)
    assert so_far.index(taken) < so_far.index(progress[0])
    assert messages[-1] == {"type": "done", "status": "done", "report": str(tmp_path / "out" / "report.json")}
    whole = [
        "consistency.nrrd",
        "dose-0.100.nrrd",
        "dose-0.250.nrrd",
        "dose-1.000.nrrd",
        "report.json",
        "uncertainty.nrrd",
    ]
    assert left_in(tmp_path / "out") == whole
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["notice"] == "Research use only. Not for diagnosis."
    assert [entry["file"] for entry in report["files"]] == whole[1:4]
    assert (report["bundle"]["name"], report["job"]["input"]) == ("tiny", scan)


def test_cancelling_ends_the_worker_with_code_3(start, scan, bundle, tmp_path):
    waits = WaitingJob("progress", tmp_path)
    process = start(input=scan, bundle=bundle, input_dose=0.05, environment=waits.environment)
    read_until(process, "progress")
    process.stdin.write(b"hello\ncancel\r\n")
    process.stdin.flush()
    messages, code, log = finish(process)
    assert (code, messages[-1]) == (3, {"type": "done", "status": "cancelled"}), log
    assert left_in(tmp_path / "out") == []


def test_a_cancel_while_torch_is_still_being_loaded_is_noticed_before_it_is_loaded(start, scan, bundle, tmp_path):
    (tmp_path / "torch.py").write_text("import time\nwhile True:\n    time.sleep(1)")
    process = start(input=scan, bundle=bundle, environment={"PYTHONPATH": str(tmp_path)})
    assert "Loading" in [read_until(process, "status") for _ in range(2)][1]["message"]
    process.stdin.close()
    assert process.wait(PATIENCE_S) == 3


def test_doses_written_before_a_cancel_stay_and_there_is_no_report(start, scan, bundle, tmp_path):
    waits = WaitingJob("dose 0.1", tmp_path)
    process = start(input=scan, bundle=bundle, input_dose=0.05, environment=waits.environment)
    dose = read_until(process, "dose")
    process.stdin.write(b"cancel\n")
    process.stdin.flush()
    messages, code, log = finish(process)
    assert code == 3 and "dose" not in [message["type"] for message in messages], log
    assert left_in(tmp_path / "out") == [Path(dose["file"]).name] == ["dose-0.100.nrrd"]
    assert read_volume(dose["file"]).voxels.shape == (24, 20, 20)


@pytest.mark.parametrize(
    "content, seen",
    [
        ({"input": "none.nrrd"}, "does not exist"),
        ({"input": "scan", "dozes": [1]}, "unknown keys"),
        ({"input": "scan", "doses": [2]}, "fraction of full dose"),
        ({"input": "scan", "bundle": "nobody"}, "no bundle is called 'nobody'"),
        ({"input": "scan", "output": "job.json"}, "is a file"),
        ({"input": "job.json"}, "job.json"),
        ({"input": "scan", "doses": [0.1], "input_dose": 0.5}, "higher doses"),
    ],
)
def test_a_job_that_cannot_work_is_one_error_message_and_code_2(start, scan, bundle, tmp_path, content, seen):
    content = {"bundle": bundle, **content}
    if content["input"] == "scan":
        content["input"] = scan
    messages, code, _ = finish(start(**content))
    assert (code, messages[-1]["type"], messages[-1]["details"]) == (2, "error", "")
    assert seen in messages[-1]["message"]
    assert not (tmp_path / "out").exists() or left_in(tmp_path / "out") == []


def test_a_full_disk_is_an_error_with_code_1_and_leaves_nothing_half_written(start, scan, bundle, tmp_path):
    resource = pytest.importorskip("resource")
    process = start(
        input=scan, bundle=bundle, input_dose=0.05,
        preexec=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)),
    )  # fmt: skip
    messages, code, log = finish(process)
    assert (code, messages[-1]["type"]) == (1, "error"), log
    assert "not written" in messages[-1]["message"] and "Traceback" in messages[-1]["details"]
    assert left_in(tmp_path / "out") == []


SPEAKING = """
import os, sys
import MAPDiffLib.jobs.worker as worker
def run_job(job, report, cancelled):
    print("a print of a library")
    os.system("echo a child process")
    os.write(1, b"a print in C\\n")
    raise RuntimeError("something unforeseen")
worker.run_job = run_job
sys.exit(worker.work(sys.argv[2]))
"""


def test_whatever_libraries_print_goes_to_the_log_and_an_unforeseen_failure_is_code_1(start):
    messages, code, log = finish(start(launch=("-c", SPEAKING), input="scan.nrrd"))
    assert code == 1
    assert [m["type"] for m in messages] == ["status", "error"]
    assert "something unforeseen" in messages[-1]["message"] and "Traceback" in messages[-1]["details"]
    assert all(words in log for words in ("a print of a library", "a child process", "a print in C"))


def test_the_first_message_comes_before_torch_is_loaded(start, scan, bundle, tmp_path):
    (tmp_path / "torch.py").write_text("raise RuntimeError('torch is being loaded')")
    messages, code, log = finish(start(input=scan, bundle=bundle, environment={"PYTHONPATH": str(tmp_path)}))
    assert (code, messages[0]["type"]) == (1, "status"), log
    assert "torch is being loaded" in messages[-1]["message"]


def test_an_earlier_result_is_kept_unless_the_job_says_overwrite(tmp_path, scan):
    (tmp_path / "dose-0.100.nrrd").write_text("an earlier result")
    job = {"input": scan, "output": str(tmp_path)}
    with pytest.raises(ValueError, match=r"already holds results \(dose-0.100.nrrd\)"):
        earlier_results(read_job(tiny.write_job_file(tmp_path / "job.json", **job)))
    again = earlier_results(read_job(tiny.write_job_file(tmp_path / "job.json", **job, overwrite=True)))
    assert again == [tmp_path / "dose-0.100.nrrd"]
