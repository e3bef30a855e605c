"""What can go wrong around a running job, provoked for real: the right end, nothing half-written, a second run."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys

import pytest

from MAPDiffLib.files import is_partial
from MAPDiffLib.job import Job, decode_message
from MAPDiffLib.jobs.run_job import run_job
from MAPDiffLib.scan.volume import read_volume
from Testing import tiny
from Testing.waiting import PATIENCE_S, WaitingJob, wait_until
from Testing.workers import PROJECT, alive, worker_processes

POSIX = pytest.mark.skipif(os.name != "posix", reason="POSIX signals, mounts and limits")


@pytest.fixture
def scan(tmp_path):
    return tiny.tiny_scan(tmp_path / "scan.nrrd")


@pytest.fixture
def start(tmp_path, bundle, scan):
    """Starts a worker on the scan; whatever still runs at the end of the test is killed."""
    begun = itertools.count()
    with worker_processes() as begin:

        def on_the_scan(environment=(), **content):
            usual = {"input": str(scan), "bundle": bundle, "output": str(tmp_path / "out"), "input_dose": 0.05}
            job = tiny.write_job_file(tmp_path / f"job-{next(begun)}.json", **{**usual, **content})
            return begin(job, environment=environment)

        yield on_the_scan


def wait_for(process, kind):
    for line in process.stdout:
        message = decode_message(line)
        if message and message["type"] == kind:
            return message
    raise AssertionError(f"no {kind} message; {process.stderr.read().decode()}")


def finish(process):
    messages = [decode_message(line) for line in process.stdout]
    return process.wait(timeout=PATIENCE_S), messages[-1] if messages else None


def names_in(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


WHOLE = [
    "consistency.nrrd",
    "dose-0.100.nrrd",
    "dose-0.250.nrrd",
    "dose-0.500.nrrd",
    "dose-1.000.nrrd",
    "report.json",
    "uncertainty.nrrd",
]


@pytest.fixture
def check_a_second_run_works(bundle, scan):
    """It finds whatever an ended run left in a folder, ends well, and leaves what a run leaves. In this process: what
    could disturb it lies in the folder."""

    def check(folder):
        run_job(Job(input=str(scan), bundle=bundle, output=str(folder), input_dose=0.05, overwrite=True))
        assert names_in(folder) == WHOLE

    return check


def check_all_is_whole(folder):
    """What stands under a final name can be read; anything else is a partial file, which the next run removes."""
    for name in names_in(folder):
        if name == "report.json":
            json.loads((folder / name).read_text())
        elif not is_partial(name):
            assert read_volume(folder / name).voxels.shape == (24, 20, 20), name


@pytest.mark.parametrize(
    "words, left",
    [
        ("Loading", []),
        ("progress", []),
        ("dose 0.1", WHOLE[1:2]),
        ("dose 0.5", WHOLE[1:4]),
    ],
)
def test_killed_between_two_steps(start, tmp_path, words, left, check_a_second_run_works):
    process = start(environment=WaitingJob(words, tmp_path).environment)
    while words not in told(process.stdout.readline()):
        pass
    process.kill()
    process.wait()
    assert names_in(tmp_path / "out") == left
    check_all_is_whole(tmp_path / "out")
    check_a_second_run_works(tmp_path / "out")


def told(line):
    message = decode_message(line)
    return " ".join(str(message[key]) for key in ("type", "message", "dose") if key in message)


@pytest.mark.long
def test_killed_at_fifty_random_moments(start, tmp_path, check_a_second_run_works):
    """After a random line of its messages: while loading, restoring, writing, or when all is over."""
    moments = random.Random(5)
    for _ in range(50):
        process = start(overwrite=True)
        for _ in range(moments.randrange(1, 12)):
            process.stdout.readline()
        process.kill()
        process.wait()
        check_all_is_whole(tmp_path / "out")
    check_a_second_run_works(tmp_path / "out")


KILLED_WHILE_WRITING = """
import os, sys
real = os.replace
def replace(source, target):
    if os.path.basename(target) == {name!r}:
        os.kill(os.getpid(), 9)
    real(source, target)
os.replace = replace
from MAPDiffLib.__main__ import main
main(["worker", sys.argv[1]])
"""


def run_code(code, *arguments, **options):
    """A Python process with this code; its standard input stays open until it has ended."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options,
    )  # fmt: skip
    try:
        output, log = process.stdout.read(), process.stderr.read()
        return process.wait(timeout=PATIENCE_S), output, log
    finally:
        process.kill()
        for pipe in (process.stdin, process.stdout, process.stderr):
            pipe.close()


@POSIX
@pytest.mark.parametrize("name", ["dose-0.250.nrrd", "report.json"])
def test_killed_between_the_last_byte_and_the_new_name(start, tmp_path, bundle, scan, name, check_a_second_run_works):
    content = {"input": str(scan), "output": str(tmp_path / "out"), "bundle": bundle, "input_dose": 0.05}
    job = tiny.write_job_file(tmp_path / "job.json", **content)
    code, _, log = run_code(KILLED_WHILE_WRITING.format(name=name), job)
    assert code == -signal.SIGKILL, log
    assert any(is_partial(name) for name in names_in(tmp_path / "out"))
    check_all_is_whole(tmp_path / "out")
    check_a_second_run_works(tmp_path / "out")


PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-m", "MAPDiffLib", "worker", sys.argv[1]], stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE)
while b"progress" not in child.stdout.readline():
    pass
print(child.pid, flush=True)
child.wait()
"""


@POSIX
def test_when_the_parent_is_killed_the_worker_ends(tmp_path, bundle, scan):
    content = {"input": str(scan), "output": str(tmp_path / "out"), "bundle": bundle, "input_dose": 0.05}
    job = tiny.write_job_file(tmp_path / "job.json", **content)
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(job)], cwd=PROJECT, stdout=subprocess.PIPE,
        env=os.environ | WaitingJob("progress", tmp_path).environment,
    )  # fmt: skip
    with parent:
        worker = int(parent.stdout.readline())
        parent.kill()
    wait_until(lambda: not alive(worker))
    assert names_in(tmp_path / "out") == []


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 kB: one or two doses."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", folder], check=True)


@POSIX
def test_a_full_disk_is_said_and_leaves_only_whole_doses(start, small_disk):
    code, last = finish(start(output=str(small_disk)))
    assert (code, last["type"]) == (1, "error")
    assert "disk full" in last["message"] or "No space" in last["message"]
    assert set(names_in(small_disk)) < set(WHOLE[1:5])  # no partial file, no report
    check_all_is_whole(small_disk)


def test_the_output_folder_removed_on_the_way_is_said_with_code_1(start, tmp_path, check_a_second_run_works):
    waits = WaitingJob("progress", tmp_path)
    process = start(environment=waits.environment)
    wait_for(process, "progress")
    (tmp_path / "out").rmdir()
    waits.let_go()
    code, last = finish(process)
    assert (code, last["type"]) == (1, "error")
    assert "has gone meanwhile" in last["message"]
    assert not (tmp_path / "out").exists()
    check_a_second_run_works(tmp_path / "out")


def test_an_input_deleted_after_the_start_is_no_longer_needed_once_it_is_read(start, scan, tmp_path):
    process = start()
    wait_for(process, "progress")
    scan.unlink()
    assert finish(process)[0] == 0
    assert names_in(tmp_path / "out") == WHOLE


def test_an_input_deleted_while_the_libraries_load_is_an_error_with_code_2(start, scan, tmp_path):
    waits = WaitingJob("Loading", tmp_path)
    process = start(environment=waits.environment)
    while "Loading" not in wait_for(process, "status")["message"]:
        pass
    scan.unlink()
    waits.let_go()
    code, last = finish(process)
    assert code == 2 and "does not exist" in last["message"]
    assert names_in(tmp_path / "out") == []


@POSIX
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_job_with_code_3(start, tmp_path, number, check_a_second_run_works):
    process = start(environment=WaitingJob("progress", tmp_path).environment)
    wait_for(process, "progress")
    process.send_signal(number)
    assert finish(process) == (3, {"type": "done", "status": "cancelled"})
    assert names_in(tmp_path / "out") == []
    check_a_second_run_works(tmp_path / "out")


@pytest.mark.parametrize("pipe", ["stdin", "stdout"])
def test_a_closed_pipe_ends_the_job_with_code_3(start, tmp_path, pipe, check_a_second_run_works):
    waits = WaitingJob("progress", tmp_path)
    process = start(environment=waits.environment)
    wait_for(process, "progress")
    getattr(process, pipe).close()
    if pipe == "stdout":  # found out when it next speaks
        waits.let_go()
    assert process.wait(timeout=PATIENCE_S) == 3
    assert names_in(tmp_path / "out") == [] and b"Traceback" not in process.stderr.read()
    check_a_second_run_works(tmp_path / "out")


@POSIX
def test_the_second_of_two_runs_into_one_folder_is_refused_and_disturbs_nothing(
    start, tmp_path, check_a_second_run_works
):
    first = start(environment=WaitingJob("progress", tmp_path).environment)
    wait_for(first, "progress")
    code, last = finish(start(overwrite=True))
    assert code == 2 and "another run is writing" in last["message"]
    first.stdin.close()
    assert first.wait(timeout=PATIENCE_S) == 3
    check_a_second_run_works(tmp_path / "out")


def test_a_clock_that_jumps_changes_nothing(start, tmp_path):
    """time.time goes back by an hour at every call, as a clock that is set does."""
    (tmp_path / "site" / "sitecustomize.py").parent.mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(
        "import itertools, time\nnow, hours = time.time, itertools.count()\n"
        "time.time = lambda: now() - 3600 * next(hours)\n"
    )
    process = start(environment={"PYTHONPATH": str(tmp_path / "site")})
    messages = [decode_message(line) for line in process.stdout]
    assert process.wait(timeout=PATIENCE_S) == 0
    progress = [message for message in messages if message["type"] == "progress"]
    assert all(0 <= message["remaining_s"] < 3600 for message in progress)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert all(0 <= seconds < 3600 for seconds in report["seconds"].values())


@pytest.mark.parametrize("home", ["/proc", "/nonexistent/home"])
def test_a_home_that_cannot_be_written_does_not_matter(start, home):
    nothing = {name: "" for name in ("XDG_CACHE_HOME", "MAPDIFF_BUNDLES", "MPLCONFIGDIR")}
    code, last = finish(start(environment={"HOME": home, **nothing}))
    assert (code, last["type"]) == (0, "done"), last


def test_a_long_silence_is_filled_with_the_progress_and_less_time_remaining(start, tmp_path):
    waits = WaitingJob("progress", tmp_path)
    process = start(environment=waits.environment)
    said = [wait_for(process, "progress") for _ in range(3)]
    waits.let_go()
    assert finish(process)[0] == 0
    assert len({message["fraction"] for message in said}) == 1
    remaining = [message["remaining_s"] for message in said]
    assert remaining == sorted(remaining, reverse=True) and remaining[-1] >= 0
