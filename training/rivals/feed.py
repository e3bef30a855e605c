"""The one seam to the data: numbered batches of patches on the device, made ahead by worker processes."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader, Dataset

from training.datasets import PatchSource
from training.rivals.config import RivalConfig


class _Numbered(Dataset):
    """Item i is the batch of iteration start + i: (scan, full dose, weight, dose)."""

    def __init__(self, source: PatchSource, config: RivalConfig, start: int):
        self.source, self.config, self.start = source, config, start

    def __len__(self) -> int:
        return self.config.iterations - self.start

    def __getitem__(self, number: int) -> tuple[torch.Tensor, ...]:
        if number >= len(self):
            raise IndexError(number)
        batch = self.source.batch(self.start + number, range(self.config.batch))
        return batch.scan, batch.ladder[:, -1:].contiguous(), batch.weight, batch.dose


def batches(
    source: PatchSource, config: RivalConfig, start: int, device: torch.device, workers: int
) -> Iterator[tuple[torch.Tensor, ...]]:
    """The batches of iterations start, start + 1, ...: the same on every run, whatever the number of workers."""
    pinned = device.type == "cuda"
    ahead = {"prefetch_factor": 4} if workers else {}
    loader = DataLoader(
        _Numbered(source, config, start), batch_size=None, num_workers=workers, pin_memory=pinned, **ahead
    )
    for batch in loader:
        yield tuple(part.to(device, non_blocking=pinned) for part in batch)
