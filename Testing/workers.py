"""Real worker processes for tests, none of which outlives its test."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
