"""Cases as memory-mapped half floats, cropped to the body: read once, then drawn from by any number of processes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from tqdm import tqdm

from MAPDiffLib.files import written_whole
from MAPDiffLib.scan.geometry import bounding_box
from MAPDiffLib.scan.volume import body_mask
from training.cases.case_file import ALL_DOSES, read_dose, read_facts
from training.process_pool import process_pool

DOSES_CACHE, BODY_CACHE, FACTS_CACHE = "cache-doses.npy", "cache-body.npy", "cache-facts.json"
BODY_CENTRES, HOT_CENTRES = "cache-body-centres.npy", "cache-hot-centres.npy"
MARGIN = 4  # voxels of air kept around the body
HOT_SUV = 3.0
MOST_CENTRES = 10_000  # kept per case and kind, in memory: patches are placed around them with room to spare


@dataclass(frozen=True)
class CachedCase:
    """One case cropped to its body: `doses` float16 SUV [dose, z, y, x] on disk, ordered as ALL_DOSES."""

    folder: Path

    @classmethod
    def open(cls, case: Path) -> CachedCase:
        """Open the cache of a case, made on first use (written whole, then renamed)."""
        if not (case / FACTS_CACHE).exists():
            _write_cache(case)
        return cls(case)

    @cached_property
    def doses(self) -> np.ndarray:
        return _mapped(self.folder / DOSES_CACHE)

    @cached_property
    def body(self) -> np.ndarray:
        """Body mask bool [z, y, x]."""
        return _mapped(self.folder / BODY_CACHE)

    @cached_property
    def body_means(self) -> list[float]:
        """Mean SUV in the body per dose: the scale that a restoration of that dose would use."""
        return json.loads((self.folder / FACTS_CACHE).read_text())["body_means"]

    @cached_property
    def spacing_mm(self) -> list[float]:
        """Voxel size (x, y, z)."""
        return read_facts(self.folder)["spacing_mm"]

    @cached_property
    def body_voxels(self) -> np.ndarray:
        """Flat indices of body voxels, thinned: patch centres are drawn from them."""
        return np.load(self.folder / BODY_CENTRES)

    @cached_property
    def hot_voxels(self) -> np.ndarray:
        """Flat indices of the body voxels with high uptake at full dose, thinned."""
        return np.load(self.folder / HOT_CENTRES)


def _mapped(path: Path) -> np.ndarray:
    """The array of a .npy file, left on the disk. torch's mapping needs no open file, as numpy's does: there are more
    cases than files that a process may open."""
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        start = file.tell()
    storage = torch.UntypedStorage.from_file(str(path), False, path.stat().st_size)
    return torch.empty(0, dtype=torch.uint8).set_(storage).numpy()[start:].view(dtype).reshape(shape)


def _write_cache(case: Path) -> None:
    """One dose in memory at a time, whatever their number."""
    full = read_dose(case, 1.0)
    body = body_mask(full.voxels, full.spacing_mm)
    box = bounding_box(body, MARGIN)
    inside = body[box]
    hot = inside & (full.voxels[box] > HOT_SUV)
    del full
    means = []

    def write_doses(file: BinaryIO) -> None:
        header = {"descr": "<f2", "fortran_order": False, "shape": (len(ALL_DOSES), *inside.shape)}
        np.lib.format.write_array_header_1_0(file, header)
        means.extend(_append(read_dose(case, dose).voxels, body, box, file) for dose in ALL_DOSES)

    _write_whole(case / DOSES_CACHE, write_doses)
    _write_whole(case / BODY_CACHE, lambda file: np.save(file, inside))
    _write_whole(case / BODY_CENTRES, lambda file: np.save(file, _thinned(inside, 7)))
    _write_whole(case / HOT_CENTRES, lambda file: np.save(file, _thinned(hot, 3)))
    facts = json.dumps({"body_means": means}).encode()
    _write_whole(case / FACTS_CACHE, lambda file: file.write(facts))  # last: its presence means that all are whole


def _append(voxels: np.ndarray, body: np.ndarray, box: tuple[slice, ...], file: BinaryIO) -> float:
    """Writes the box of a scan; returns its mean in the body."""
    file.write(voxels[box].astype("<f2", order="C"))
    return float(voxels[body].mean(dtype=np.float64))


def _thinned(mask: np.ndarray, step: int) -> np.ndarray:
    """Flat indices of every `step`-th voxel of a mask, or of fewer, evenly: at most MOST_CENTRES."""
    voxels = np.flatnonzero(mask)
    return voxels[:: max(step, -(-len(voxels) // MOST_CENTRES))].astype(np.min_scalar_type(mask.size))


def _write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Several processes may open the same new case at once."""
    with written_whole(path) as partial, partial.open("wb") as file:
        write(file)


def open_caches(cases: Sequence[Path]) -> list[CachedCase]:
    """The caches of many cases; several that are missing are made by several processes."""
    missing = [case for case in cases if not (Path(case) / FACTS_CACHE).exists()]
    if len(missing) > 4:
        jobs = min(16, os.cpu_count() or 1)
        with process_pool(jobs) as pool:
            list(tqdm(pool.map(CachedCase.open, missing), total=len(missing), desc="caches", disable=None))
    return [CachedCase.open(Path(case)) for case in cases]
