"""What a method costs: seconds, and the most memory that was in use meanwhile."""

from __future__ import annotations

import resource
import sys
import time
from contextlib import suppress
from pathlib import Path

import torch


class Cost:
    """A context: afterwards `seconds`, and `peak_gb` of the GPU where one was used, else of this process.

    A process's high-water mark can be reset on Linux alone; elsewhere it is that of the whole process so far.
    """

    def __enter__(self) -> Cost:
        self.gpu = torch.cuda.is_available()
        if self.gpu:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
        self.started = time.perf_counter()
        return self

    def __exit__(self, *exception) -> None:
        if self.gpu:
            torch.cuda.synchronize()
        self.seconds = time.perf_counter() - self.started
        used = torch.cuda.max_memory_allocated() if self.gpu else 0
        self.peak_gb = (used or _process_peak_bytes()) / 1e9


def _process_peak_bytes() -> int:
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return max_rss_bytes(resource.getrusage(resource.RUSAGE_SELF))


def max_rss_bytes(usage: resource.struct_rusage) -> int:
    """The high-water mark of a process in bytes, which a Mac counts in bytes and Linux in kilobytes."""
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
