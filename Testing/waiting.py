"""Tests wait for events, never for a time: a condition that comes true, or a job that stands where a test wants it."""

from __future__ import annotations

import os
import subprocess
import time
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


class WaitingJob:
    """A job in another process that waits after its first message with these words, e.g. "Loading", "progress" or
    "dose 0.25", until it is let go or cancelled: whatever the machine's speed, it is still at work there."""

    def __init__(self, words: str, folder: Path):
        self._go = Path(folder) / f"go-on-{words.replace(' ', '-')}"
        self.environment = {
            "MAPDIFF_TEST_WAIT_AT": words,
            "MAPDIFF_TEST_WAIT_FOR": str(self._go),
            "PYTHONPATH": os.pathsep.join([str(HELD), *filter(None, [os.environ.get("PYTHONPATH")])]),
        }

    def let_go(self) -> None:
        """It goes on, and waits nowhere else."""
        self._go.touch()
