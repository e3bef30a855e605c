"""Seconds and memory, measured the same way for everything: synchronised, medians, with how many were taken."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

import torch

PROJECT = Path(__file__).parent.parent


def seconds_of(work: Callable[[], object], device: str = "cpu") -> float:
    """Wall-clock seconds of one call; on a GPU until all of its work is done."""
    synchronise(device)
    started = time.perf_counter()
    work()
    synchronise(device)
    return time.perf_counter() - started


def synchronise(device: str) -> None:
    """What a GPU was given is done; nothing to wait for on a CPU."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def repeated(work: Callable[[], object], repeats: int, budget_s: float, device: str = "cpu") -> list[float]:
    """Seconds of up to `repeats` calls after one that warms up; fewer, at least one, when they would pass the budget.

    A call that alone passes the budget is its own measurement: there is no second.
    """
    first = seconds_of(work, device)
    if first > budget_s / 2:
        return [first]
    taken = []
    while len(taken) < repeats and (not taken or sum(taken) + first + taken[-1] < budget_s):
        taken.append(seconds_of(work, device))
    return taken


def summary(taken: list[float], units: int = 1) -> dict:
    """Median seconds of the whole work, of which each measurement was one of `units` equal parts."""
    median = statistics.median(taken) * units
    return {"seconds": median, "spread": (max(taken) - min(taken)) * units, "runs": len(taken)}


# A small process between: a child counts the memory of whoever started it as its own until it has begun.
LAUNCHER = """
import json, resource, subprocess, sys, time
started = time.perf_counter()
code = subprocess.run(sys.argv[1:]).returncode
seconds = time.perf_counter() - started
print(json.dumps({"seconds": seconds, "peak_gb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9}))
sys.exit(code)
"""


def in_child(module: str, *arguments: str) -> dict:
    """Runs `python -m module` and returns {"seconds", "peak_gb", ...what it printed as JSON in its last line}."""
    command = [sys.executable, "-c", LAUNCHER, sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"python -m {module} failed: {done.stderr[-2000:]}")
    *printed, measured = done.stdout.strip().splitlines()
    said = json.loads(printed[-1]) if printed and printed[-1].startswith("{") else {}
    return json.loads(measured) | said


@dataclass
class Stages:
    """Exclusive seconds per named stage: what a stage calls that has a name of its own counts there."""

    device: str = "cpu"
    seconds: dict[str, float] = field(default_factory=dict)
    _stack: list[str] = field(default_factory=list)
    _mark: float = 0.0

    def _switch(self) -> None:
        synchronise(self.device)
        now = time.perf_counter()
        if self._stack:
            self.seconds[self._stack[-1]] = self.seconds.get(self._stack[-1], 0.0) + now - self._mark
        self._mark = now

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """The time of the block goes to `name`, but for that of stages within it."""
        self._switch()
        self._stack.append(name)
        try:
            yield
        finally:
            self._switch()
            self._stack.pop()

    @contextmanager
    def watching(self, places: dict[str, list[tuple[object, str]]]) -> Iterator[None]:
        """While it lasts, every call of owner.attribute counts to its stage: {stage: [(owner, attribute), ...]}."""
        with ExitStack() as stack:
            for name, attributes in places.items():
                for owner, attribute in attributes:
                    stack.enter_context(patch.object(owner, attribute, self._wrapped(name, getattr(owner, attribute))))
            yield

    def _wrapped(self, name: str, function: Callable) -> Callable:
        def watched(*arguments, **keywords):
            with self.stage(name):
                return function(*arguments, **keywords)

        return watched
