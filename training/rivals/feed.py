"""The one seam to the data: numbered batches of patches on the device, made ahead by worker processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import DataLoader, Dataset

from training.datasets import Batch, PatchSource


class _Iterations(Dataset):
    """Iteration number -> its tensors."""

    def __init__(self, source: PatchSource, items: Sequence[int]):
        self.source, self.items = source, items

    def __getitem__(self, iteration: int) -> tuple[torch.Tensor, ...]:
        return tuple(vars(self.source.batch(iteration, self.items)).values())


def batches(
    source: PatchSource, items: Sequence[int], iterations: range, device: torch.device, workers: int = 0
) -> Iterator[Batch]:
    """The batches of `iterations` on `device`, in order: the same on every run, whatever the number of workers."""
    pinned = device.type == "cuda"
    loader = DataLoader(
        _Iterations(source, items), batch_size=None, sampler=iterations, num_workers=workers, pin_memory=pinned,
        prefetch_factor=4 if workers else None,
    )  # fmt: skip
    return (Batch(*(part.to(device, non_blocking=pinned) for part in parts)) for parts in loader)
