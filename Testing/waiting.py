"""Tests wait for events, never for a time: a condition that comes true, or a job that stands where a test wants it."""

from __future__ import annotations

import json
import os
import subprocess
import time
import uuid
from collections.abc import Callable
from pathlib import Path

PATIENCE_S = 300  # the end of any wait: far beyond what the slowest machine needs, so that it says "never"
HELD = Path(__file__).parent / "held"


def wait_until(condition: Callable[[], object], process: subprocess.Popen | None = None) -> None:
    """Returns when the condition holds. AssertionError after PATIENCE_S, or when `process` ends before."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "what was waited for never came"
        assert process is None or process.poll() is None or condition(), "the process ended before"
        time.sleep(0.01)


class WaitingCall:
    """Programs started with its `environment` wait before each call of a function but the first `after`, in every
    process, until they are let go: whatever the machine's speed, they are still at work there."""

    words: str | None = None

    def __init__(self, module: str, function: str, folder: Path, after: int = 0):
        self._go = Path(folder) / f"go-on-{uuid.uuid4().hex}"
        wait = {"module": module, "function": function, "words": self.words, "after": after, "file": str(self._go)}
        self.environment = {
            "MAPDIFF_TEST_WAIT": json.dumps(wait),
            "PYTHONPATH": os.pathsep.join([str(HELD), *filter(None, [os.environ.get("PYTHONPATH")])]),
        }

    def let_go(self) -> None:
        """They go on, and wait nowhere else."""
        self._go.touch()


class WaitingJob(WaitingCall):
    """Jobs wait after their first message with these words, e.g. "Loading", "progress" or "dose 0.25", until they are
    let go or cancelled; the first `after` jobs of a process that come there do not."""

    def __init__(self, words: str, folder: Path, after: int = 0):
        self.words = words
        super().__init__("MAPDiffLib.jobs.run_job", "run_job", folder, after)
