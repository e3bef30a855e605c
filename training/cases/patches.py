"""Training patches of random cases, drawn by seed and iteration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from MAPDiffLib.restoration.doses import ANCHOR_DOSES, mix_share
from MAPDiffLib.restoration.intensity import BODY_MEAN_SUV, Intensity
from training.cases.augmentation import Variety, nested_shares, post_filter
from training.cases.cache import CachedCase, open_caches
from training.cases.case_file import ALL_DOSES

CPU = torch.device("cpu")
AIR_WEIGHT = 0.05  # air is passed through by the restoration, so it hardly matters to the loss
# An error of log1p(SUV) is one of 1 + SUV times as much in SUV: the loss counts it so, up to this weight.
WEIGHT_LIMIT = 30.0
HOT_SHARE = 0.25  # a quarter of the patches is drawn around hot voxels, which are rare
ROUNDING = 1 + 1e-6  # of a dose that was computed


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
