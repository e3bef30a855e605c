"""Whether the data keep the device busy: samples a second of the loader alone, and of the training step alone."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from training.cases.loader import batches
from training.config import TrainConfig
from training.train import begin, patches_of, update

FEWEST = 3  # batches or steps that count, however long they take


@dataclass(frozen=True)
class Throughput:
    """Samples a second: of the loader by its number of worker processes (0: none but this one), and of the step."""

    device: str
    loader: dict[int, float]
    step: float

    def __str__(self) -> str:
        lines = [f"training step on {self.device}: {self.step:.2f} samples/s"]
        for workers, rate in self.loader.items():
            enough = "enough" if rate > self.step else "too slow"
            lines.append(
                f"loader, {workers} workers: {rate:.2f} samples/s, {rate / self.step:.1f} x the step: {enough}"
            )
        return "\n".join(lines)


def measure_throughput(
    config: TrainConfig, cases: Sequence[Path], workers: Sequence[int], seconds: float = 10.0
) -> Throughput:
    """Loader and step one after the other, about `seconds` each, on the device that training would take.

    Alone, each has all cores: on a CPU, where both share them, the share of waiting in the run's own log is the answer.
    """
    fabric, _, model, optimizer = begin(config)
    device, items = fabric.device, list(range(config.batch))
    source = patches_of(config, cases, device)
    loader = {}
    for count in workers if source.device.type == "cpu" else [0]:  # patches of scans on the GPU are cut there
        feed = batches(source, items, range(2**31), device, count)
        loader[count] = config.batch * _rate(lambda feed=feed: next(feed), seconds, device)
    batch, iterations = next(batches(source, items, range(1), device)), itertools.count()
    step = _rate(lambda: update(fabric, model, optimizer, config, batch, next(iterations), items), seconds, device)
    return Throughput(str(device), loader, config.batch * step)


def _rate(work: Callable[[], object], seconds: float, device: torch.device) -> float:
    """Calls a second after a first one, in which worker processes start and kernels are chosen."""
    work()
    _synchronise(device)
    began, done = time.monotonic(), 0
    while done < FEWEST or time.monotonic() - began < seconds:
        work()
        done += 1
    _synchronise(device)
    return done / (time.monotonic() - began)


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
