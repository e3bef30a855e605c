"""Batches in order, on the device that trains, cut ahead by worker processes where that helps."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import DataLoader, Dataset

from training.cases.patches import Batch, PatchSource


class _Iterations(Dataset):
    """Iteration number -> the batch of this process: a data set whose items worker processes can share out."""

    def __init__(self, source: PatchSource, items: Sequence[int]):
        self.source, self.items = source, items

    def __len__(self) -> int:
        return sys.maxsize  # the loader is told which iterations it is to make

    def __getitem__(self, iteration: int) -> Batch:
        return self.source.batch(iteration, self.items)


def batches(
    source: PatchSource, items: Sequence[int], iterations: range, device: torch.device, workers: int | None = None
) -> Iterator[Batch]:
    """The batches of `iterations` on `device`, in order.

    Where the scans did not fit on the GPU, `workers` processes (default: one per core but two, at most 12) cut the
    patches ahead of it.
    """
    behind = device.type == "cuda" and source.device.type == "cpu"
    if source.device.type == "cuda":
        workers = 0
    elif workers is None:
        workers = min(12, max(1, (os.cpu_count() or 1) - 2)) if behind else 0
    loader = DataLoader(
        _Iterations(source, items), batch_size=None, sampler=iterations, num_workers=workers, pin_memory=behind,
        prefetch_factor=4 if workers else None, worker_init_fn=_one_thread,
    )  # fmt: skip
    return (batch.to(device) for batch in loader)


def _one_thread(worker: int) -> None:
    torch.set_num_threads(1)
