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

from MAPDiffLib.files import clear_partials, written_whole
from MAPDiffLib.restoration.noise import UNKNOWN_NOISE, Noise, measure_noise
from MAPDiffLib.scan.geometry import bounding_box
from MAPDiffLib.scan.volume import Volume, body_mask
from training.cases.augmentation import FILTERS_MM, filter_sigmas
from training.cases.case_file import ALL_DOSES, read_dose, read_noise_free
from training.cases.regions import lesion_regions
from training.process_pool import process_pool
from training.simulate.scanner import blur

DOSES_CACHE, BODY_CACHE, FACTS_CACHE = "cache-doses.npy", "cache-body.npy", "cache-facts.json"
LESION_CACHE = "cache-lesions.npy"
BODY_CENTRES, HOT_CENTRES, LESION_CENTRES = (f"cache-{kind}-centres.npy" for kind in ("body", "hot", "lesion"))
MARGIN = 4  # voxels of air kept around the body
HOT_SUV = 3.0
MOST_CENTRES = 10_000  # kept per case and kind, in memory: patches are placed around them with room to spare


@dataclass(frozen=True)
class CachedCase:
    """One case cropped to its body: `doses` float16 SUV [dose, z, y, x] on disk, ordered as ALL_DOSES, and after them
    the noise-free image where the case has one."""

    folder: Path

    @classmethod
    def open(cls, case: Path) -> CachedCase:
        """Open the cache of a case, made on first use.

        Several processes may make it at once. Once it is whole, what others are still writing is taken away like what a
        killed one left; they go on with what is there.
        """
        if not (case / FACTS_CACHE).exists():
            try:
                _write_cache(case)
            except FileNotFoundError:
                if not (case / FACTS_CACHE).exists():
                    raise
        clear_partials(case, of="cache-")
        return cls(case)

    @cached_property
    def doses(self) -> np.ndarray:
        """The scans around the body, mapped from the disk: float16 [dose, z, y, x]."""
        return _mapped(self.folder / DOSES_CACHE)

    @cached_property
    def body(self) -> np.ndarray:
        """Body mask bool [z, y, x]."""
        return _mapped(self.folder / BODY_CACHE)

    @cached_property
    def lesions(self) -> np.ndarray:
        """Where lesions are: bool [z, y, x]."""
        return _mapped(self.folder / LESION_CACHE)

    @cached_property
    def _facts(self) -> dict:
        return json.loads((self.folder / FACTS_CACHE).read_text())

    @cached_property
    def body_means(self) -> list[float]:
        """Mean SUV in the body of each of `doses`: the scale that a restoration of it would use."""
        return self._facts["body_means"]

    def noise(self, number: int, dose: float) -> Noise:
        """As measured on the scan of a dose behind FILTERS_MM[number]; between the cached doses by the power law that
        goes through its neighbours."""
        measured = np.log(self._facts["noise"][number])
        return Noise(*(float(np.exp(np.interp(np.log(dose), np.log(ALL_DOSES), column))) for column in measured.T))

    @cached_property
    def spacing_mm(self) -> list[float]:
        """Voxel size (x, y, z)."""
        return self._facts["spacing_mm"]

    @cached_property
    def body_voxels(self) -> np.ndarray:
        """Flat indices of body voxels, thinned: patch centres are drawn from them."""
        return np.load(self.folder / BODY_CENTRES)

    @cached_property
    def hot_voxels(self) -> np.ndarray:
        """Flat indices of the body voxels with high uptake at full dose, thinned."""
        return np.load(self.folder / HOT_CENTRES)

    @cached_property
    def lesion_voxels(self) -> np.ndarray:
        """Flat index of the middle voxel of each lesion."""
        return np.load(self.folder / LESION_CENTRES)


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
    lesions, middles = _lesions(case, box, full)
    spacing_mm = list(full.spacing_mm)
    del full
    means, noises = [], []

    def write_doses(file: BinaryIO) -> None:
        noise_free = read_noise_free(case)
        images = (*ALL_DOSES, None) if noise_free else ALL_DOSES
        header = {"descr": "<f2", "fortran_order": False, "shape": (len(images), *inside.shape)}
        np.lib.format.write_array_header_1_0(file, header)
        for dose in images:
            scan = noise_free if dose is None else read_dose(case, dose)
            means.append(_append(scan.voxels, body, box, file))
            if dose is not None:
                noises.append(_noise_behind_filters(scan.voxels[box], inside, scan.spacing_mm))

    _write_whole(case / DOSES_CACHE, write_doses)
    _write_whole(case / BODY_CACHE, lambda file: np.save(file, inside))
    _write_whole(case / LESION_CACHE, lambda file: np.save(file, lesions))
    _write_whole(case / BODY_CENTRES, lambda file: np.save(file, _thinned(inside, 7)))
    _write_whole(case / HOT_CENTRES, lambda file: np.save(file, _thinned(hot, 3)))
    _write_whole(case / LESION_CENTRES, lambda file: np.save(file, middles))
    noise = np.swapaxes(noises, 0, 1).tolist()  # [filter, dose, (level, axial, in plane)]
    facts = json.dumps({"body_means": means, "noise": noise, "spacing_mm": spacing_mm}).encode()
    _write_whole(case / FACTS_CACHE, lambda file: file.write(facts))  # last: its presence means that all are whole


def _lesions(case: Path, box: tuple[slice, slice, slice], full: Volume) -> tuple[np.ndarray, np.ndarray]:
    """(lesions bool in the box, flat index in it of each one's middle voxel)."""
    lesions, middles = np.zeros(full.voxels[box].shape, bool), []
    for lesion in lesion_regions(case, full.voxels.shape, full.spacing_mm):
        mask = lesion.mask[box]
        if (voxels := np.argwhere(mask)).size:
            lesions |= mask
            nearest = np.abs(voxels - voxels.mean(axis=0)).sum(axis=1).argmin()
            middles.append(np.ravel_multi_index(voxels[nearest], mask.shape))
    return lesions, np.array(middles, np.int64)


def _noise_behind_filters(voxels: np.ndarray, body: np.ndarray, spacing_mm: Sequence[float]) -> list[list[float]]:
    """(level, axial, in plane) behind each of FILTERS_MM; where nothing can be measured, what is usual."""
    scan, found = voxels.astype(np.float32), []
    for filter_mm in FILTERS_MM:
        filtered = blur(scan, filter_sigmas(filter_mm, spacing_mm))  # a convolution in torch would take many volumes
        noise = measure_noise(filtered, body, spacing_mm) or UNKNOWN_NOISE
        found.append([noise.level, noise.axial_mm, noise.in_plane_mm])
    return found


def _append(voxels: np.ndarray, body: np.ndarray, box: tuple[slice, ...], file: BinaryIO) -> float:
    """Writes the box of a scan; returns its mean in the body."""
    file.write(voxels[box].astype("<f2", order="C"))
    return float(voxels[body].mean(dtype=np.float64))


def _thinned(mask: np.ndarray, step: int) -> np.ndarray:
    """Flat indices of every `step`-th voxel of a mask, or of fewer, evenly: at most MOST_CENTRES."""
    voxels = np.flatnonzero(mask)
    return voxels[:: max(step, -(-len(voxels) // MOST_CENTRES))].astype(np.min_scalar_type(mask.size))


def _write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
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
