"""Real worker processes for tests, none of which outlives its test."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PROJECT = Path(__file__).parent.parent


@contextmanager
def worker_processes() -> Iterator[Callable[..., subprocess.Popen]]:
    """begin(job file, launch, environment, preexec) starts a worker; whatever still runs at the end is killed."""
    running = []

    def begin(job: Path, launch=("-m", "MAPDiffLib"), environment=(), preexec=None) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, *launch, "worker", str(job)],
            cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1", **dict(environment)}, preexec_fn=preexec,
        )  # fmt: skip
        running.append(process)
        return process

    try:
        yield begin
    finally:
        for process in running:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                pipe.close()


def peak_memory_mb(process: subprocess.Popen) -> dict[int, float]:
    """{process id: peak resident memory in MB} of a process and its children, watched until it ends."""
    peaks = {}
    while process.poll() is None:
        for pid in (process.pid, *children(process)):
            try:
                lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
            except OSError:  # it ended
                continue
            if "VmHWM" in lines:
                peaks[pid] = int(lines["VmHWM"].split()[0]) / 1024
        time.sleep(0.02)
    return peaks


def children(process: subprocess.Popen) -> list[int]:
    """The ids of the processes that a process has started, from any of its threads; none where it has ended."""
    found = []
    for thread in Path(f"/proc/{process.pid}/task").glob("*/children"):
        with suppress(OSError):  # it ended
            found += [int(pid) for pid in thread.read_text().split()]
    return found


def alive(pid: int) -> bool:
    """Whether a process still runs; one that has ended but was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
