"""Multi-dose cases as training patches: read once, kept as memory-mapped half floats, drawn by seed and iteration.

A case folder holds case.json and one NIfTI per dose (training/simulate, or UDPET data prepared to the same form).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from MAPDiffLib.doses import ANCHOR_DOSES, mix_share
from MAPDiffLib.errors import InputError
from MAPDiffLib.intensity import BODY_MEAN_SUV, Intensity
from MAPDiffLib.volume import Volume, body_mask, read_volume
from training.casefile import read_facts
from training.processes import process_pool
from training.variety import Variety, nested_shares, post_filter

DOSES_CACHE, BODY_CACHE, FACTS_CACHE = "cache-doses.npy", "cache-body.npy", "cache-facts.json"
BODY_CENTRES, HOT_CENTRES = "cache-body-centres.npy", "cache-hot-centres.npy"
CPU = torch.device("cpu")
MARGIN = 4  # voxels of air kept around the body
AIR_WEIGHT = 0.05  # air is passed through by the restoration, so it hardly matters to the loss
# An error of log1p(SUV) is one of 1 + SUV times as much in SUV: the loss counts it so, up to this weight.
WEIGHT_LIMIT = 30.0
HOT_SUV, HOT_SHARE = 3.0, 0.25  # a quarter of the patches is drawn around hot voxels, which are rare
MOST_CENTRES = 10_000  # kept per case and kind, in memory: patches are placed around them with room to spare
ALL_DOSES = (0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
ROUNDING = 1 + 1e-6  # of a dose that was computed


def dose_file(dose: float) -> str:
    """0.05 -> "dose-0.050.nii.gz"."""
    return f"dose-{dose:.3f}.nii.gz"


def find_cases(folder: Path) -> list[Path]:
    """The case folders below `folder`, sorted. InputError when there are none."""
    found = (path.parent for path in Path(folder).glob("**/case.json"))
    cases = sorted(case for case in found if not case.name.startswith("."))  # a hidden one is still being made
    if not cases:
        raise InputError(f"{folder}: no case.json below it; make cases with `python -m training.simulate` first")
    return cases


def read_dose(case: Path, dose: float) -> Volume:
    """The scan of one dose of a case, in SUV."""
    return read_volume(case / dose_file(dose))


def check_doses(cases: Iterable[Path], doses: Iterable[float]) -> None:
    """InputError, naming the first case that lacks one of these doses and all that it lacks."""
    for case in cases:
        if missing := [dose_file(dose) for dose in sorted(doses) if not (case / dose_file(dose)).is_file()]:
            raise InputError(
                f"{case}: no {', '.join(missing)}, which are needed here; make the case again with all doses, "
                "or leave it out"
            )


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
    box = tuple(
        slice(max(0, hits[0] - MARGIN), hits[-1] + 1 + MARGIN)
        for hits in (np.flatnonzero(body.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1)))
    )
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
    """Under a name of this process first: several processes may open the same new case at once."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with partial.open("wb") as file:
        write(file)
    os.replace(partial, path)


@dataclass(frozen=True)
class Batch:
    """scan [b, 1, p, p, p], ladder [b, anchors, p, p, p] in network units, weight of the loss like scan, dose [b]."""

    scan: torch.Tensor
    ladder: torch.Tensor
    weight: torch.Tensor
    dose: torch.Tensor

    def pin_memory(self) -> Batch:
        """In page-locked memory, from where a GPU copies while it computes (torch's DataLoader calls this)."""
        return Batch(*(tensor.pin_memory() for tensor in vars(self).values()))

    def first(self, count: int) -> Batch:
        """The first `count` items."""
        return Batch(*(tensor[:count] for tensor in vars(self).values()))

    def to(self, device: torch.device) -> Batch:
        return Batch(*(tensor.to(device, non_blocking=True) for tensor in vars(self).values()))


@dataclass(frozen=True)
class _Draw:
    """One patch: its case, input dose, what its scan and its anchors are of the cached doses [1 + anchors, doses],
    window ((start, stop) per axis), mirrored axes, the further post-filter (sigmas in voxels), what counts as SUV 1."""

    case: int
    dose: float
    parts: np.ndarray
    window: list[tuple[int, int]]
    flips: list[int]
    filter_sigmas: tuple[float, float, float] | None
    scale: float


class PatchSource:
    """Random patches of random cases; item k of iteration i is the same on every run and any number of processes.

    The scans stay memory-mapped on disk, or on the GPU `device` where they fit in half of its free memory: then patches
    are cut there.
    """

    def __init__(
        self,
        cases: Sequence[Path],
        patch: int,
        input_doses: dict[float, float],
        seed: int,
        variety: Variety = Variety(),  # noqa: B008  (frozen)
        device: torch.device = CPU,
    ):
        self.cases = open_caches(cases)
        self.patch, self.seed, self.variety = patch, seed, variety
        self.device = device if device.type == "cuda" and self._fits(device) else CPU
        self.doses = [torch.from_numpy(case.doses).to(self.device) for case in self.cases]
        self.bodies = [torch.from_numpy(case.body).to(self.device) for case in self.cases]
        self.input_doses = list(input_doses)
        self.shares = np.array(list(input_doses.values())) / sum(input_doses.values())

    def _fits(self, device: torch.device) -> bool:
        free, _ = torch.cuda.mem_get_info(device)
        return sum(case.doses.nbytes + case.body.nbytes for case in self.cases) < free / 2

    def batch(self, iteration: int, items: Sequence[int]) -> Batch:
        """The patches numbered `items` of the global batch of this iteration."""
        draws = [self._draw(np.random.default_rng([self.seed, iteration, item])) for item in items]
        # What can be done for the whole batch at once is: on a GPU a hundred small steps per patch would cost more
        # than the training step itself.
        cut = torch.zeros((len(items), len(ALL_DOSES), *(self.patch,) * 3), device=self.device)
        body = torch.zeros((len(items), 1, *(self.patch,) * 3), device=self.device)
        for k, draw in enumerate(draws):
            self._cut(self.doses[draw.case], draw, cut[k], draw.filter_sigmas)
            self._cut(self.bodies[draw.case][None], draw, body[k])
        parts = torch.from_numpy(np.stack([draw.parts for draw in draws])).to(cut)
        suv = torch.einsum("bkd,bdzyx->bkzyx", parts, cut)
        scale = torch.tensor([draw.scale for draw in draws])[:, None, None, None, None].to(self.device)
        values = Intensity(scale).to_network(suv)
        # A function of the scan alone: weights that knew the target would bias the estimate.
        weight = (1 + suv[:, :1].clamp(min=0)).clamp(max=WEIGHT_LIMIT)
        weight = torch.where(body > 0.5, weight, AIR_WEIGHT)
        return Batch(values[:, :1], values[:, 1:], weight, torch.tensor([draw.dose for draw in draws]))

    def _draw(self, rng: np.random.Generator) -> _Draw:
        number = int(rng.integers(len(self.cases)))
        case = self.cases[number]
        dose = self.variety.dose(rng, float(rng.choice(self.input_doses, p=self.shares)), self.input_doses)
        parts = _parts(dose, self.variety.counts(rng, min(ALL_DOSES) / dose))
        window = self._window(case, rng, round(self.patch / self.variety.zoom(rng)))
        flips = [axis for axis in (1, 2, 3) if rng.random() < 0.5]
        sigmas = self.variety.filter_sigmas(rng, case.spacing_mm) if self.variety.filtered else None
        return _Draw(number, dose, parts, window, flips, sigmas, float(parts[0] @ case.body_means) / BODY_MEAN_SUV)

    def _window(self, case: CachedCase, rng: np.random.Generator, edge: int) -> list[tuple[int, int]]:
        """(start, stop) per axis around a random body voxel, pushed inside the volume where it fits."""
        shape = case.body.shape
        voxels = case.hot_voxels if rng.random() < HOT_SHARE and len(case.hot_voxels) else case.body_voxels
        centre = np.unravel_index(voxels[rng.integers(len(voxels))], shape)
        quarter = edge // 4
        starts = [
            int(np.clip(c - rng.integers(quarter, edge - quarter), 0, max(0, n - edge)))
            for c, n in zip(centre, shape, strict=True)
        ]
        return [(start, start + edge) for start in starts]

    def _cut(
        self,
        array: torch.Tensor,
        draw: _Draw,
        out: torch.Tensor,
        sigmas: tuple[float, float, float] | None = None,
    ) -> None:
        """The window of [c, z, y, x], filtered, mirrored and scaled to the patch, into `out`; zero past the end."""
        block = array[(slice(None), *(slice(a, b) for a, b in draw.window))]
        edges = [b - a for a, b in draw.window]
        if edges != list(block.shape[1:]) or edges[0] != self.patch:
            missing = [n for edge, size in zip(edges, block.shape[1:], strict=True) for n in (edge - size, 0)]
            block = functional.pad(block.float(), missing[::-1])
        if sigmas:
            block = post_filter(block.float(), sigmas)
        if edges[0] != self.patch:
            block = functional.interpolate(block[None], size=(self.patch,) * 3, mode="trilinear")[0]
        out.copy_(block.flip(draw.flips))


def _parts(dose: float, counts: float) -> np.ndarray:
    """What the scan of a dose and its anchors are of ALL_DOSES, where full dose has `counts` times the case's counts:
    [1 + anchors, doses].

    The scan gets the noise of its dose. An anchor gets what is expected of it from the scan, which is all that training
    takes from it: the closed-form mix. One at or below the input's own dose teaches nothing: the next stands in for it.
    """
    above = [min(d for d in ANCHOR_DOSES if d >= max(anchor, dose * 1.01)) for anchor in ANCHOR_DOSES]
    parts = np.zeros((1 + len(above), len(ALL_DOSES)), np.float32)
    for row, wanted in enumerate((dose * counts, *(anchor * counts for anchor in above))):
        low = max((d for d in ALL_DOSES if d <= wanted * ROUNDING), default=ALL_DOSES[0])
        high = min((d for d in ALL_DOSES if d >= wanted / ROUNDING), default=ALL_DOSES[-1])
        between = min(max(wanted, low), high)
        share = mix_share(low, between, high) if row else nested_shares(low, between, high)[0]
        parts[row, ALL_DOSES.index(low)] += share
        parts[row, ALL_DOSES.index(high)] += 1 - share
    return parts


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


def open_caches(cases: Sequence[Path]) -> list[CachedCase]:
    """The caches of many cases; several that are missing are made by several processes."""
    missing = [case for case in cases if not (Path(case) / FACTS_CACHE).exists()]
    if len(missing) > 4:
        jobs = min(16, os.cpu_count() or 1)
        with process_pool(jobs) as pool:
            list(tqdm(pool.map(CachedCase.open, missing), total=len(missing), desc="caches", disable=None))
    return [CachedCase.open(Path(case)) for case in cases]


def _one_thread(worker: int) -> None:
    torch.set_num_threads(1)
