"""Many restorations in one process: the same result every time, and memory that stays flat."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest
import torch

from MAPDiffLib.job import RestoreOptions
from MAPDiffLib.model.bundle import load_bundle
from MAPDiffLib.restoration.restore import restore
from MAPDiffLib.scan.volume import read_volume
from Testing import tiny

STATM = Path("/proc/self/statm")


def memory_mb() -> float:
    gc.collect()
    return int(STATM.read_text().split()[1]) * 4096 / 1e6


def soak(tmp_path, times: int, warm: int) -> None:
    bundle = load_bundle(tiny.tiny_bundle(tmp_path / "tiny"))
    path = tiny.tiny_scan(tmp_path / "scan.nrrd")
    options = RestoreOptions(input_dose=0.05, seed=7)
    threads = torch.get_num_threads()
    first, before = None, 0.0
    for run in range(times):
        doses = [dose.volume.voxels for dose in restore(read_volume(path), bundle, options)]
        first = first or doses
        assert all(np.array_equal(a, b) for a, b in zip(doses, first, strict=True)), f"run {run} differs"
        if run == warm:
            before = memory_mb()
    assert memory_mb() - before < 15
    assert torch.get_num_threads() == threads


@pytest.mark.skipif(not STATM.exists(), reason="needs /proc")
def test_twenty_restorations_are_the_same_and_memory_stays_flat(tmp_path):
    soak(tmp_path, 20, warm=8)


@pytest.mark.long
@pytest.mark.skipif(not STATM.exists(), reason="needs /proc")
def test_two_hundred_restorations_are_the_same_and_memory_stays_flat(tmp_path):
    soak(tmp_path, 200, warm=20)
