"""Training patches of random cases, drawn by seed and iteration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from MAPDiffLib.restoration.doses import ANCHOR_DOSES
from MAPDiffLib.restoration.intensity import BODY_MEAN_SUV, Intensity
from MAPDiffLib.restoration.working_grid import resampled
from training.cases.augmentation import (
    AS_THEY_ARE,
    FILTERS_MM,
    Variety,
    filter_sigmas,
    nested_shares,
    post_filter,
)
from training.cases.cache import CachedCase, open_caches
from training.cases.case_file import ALL_DOSES

CPU = torch.device("cpu")
AIR_WEIGHT = 0.05  # air is passed through by the restoration, so it hardly matters to the loss
# An error of log1p(SUV) is one of 1 + SUV times as much in SUV: the loss counts it so, up to this weight.
WEIGHT_LIMIT = 30.0
HOT_SHARE = 0.25  # a quarter of the patches is drawn around hot voxels, which are rare
LESION_SHARE = 0.4  # and so many around a lesion, where the case has one
LESION_WEIGHT = 8.0  # of a voxel in a lesion: one in a thousand is, and they are what a scan is made for
ROUNDING = 1 + 1e-6  # of a dose that was computed
MOST_OF_FULL = 0.5  # of full dose's counts that a scan may have for the rest of them to be a target


@dataclass(frozen=True)
class Batch:
    """scan [b, 1, p, p, p], ladder [b, anchors, p, p, p] in network units, weight of the loss like scan, noise [b, 3]
    (level, axial and in-plane width in voxels, as a restoration of the whole scan would measure them)."""

    scan: torch.Tensor
    ladder: torch.Tensor
    weight: torch.Tensor
    noise: torch.Tensor

    def pin_memory(self) -> Batch:
        """In page-locked memory, from where a GPU copies while it computes (torch's DataLoader calls this)."""
        return Batch(*(tensor.pin_memory() for tensor in vars(self).values()))

    def first(self, count: int) -> Batch:
        """The first `count` items."""
        return Batch(*(tensor[:count] for tensor in vars(self).values()))

    def to(self, device: torch.device) -> Batch:
        """The same on another device, copied while the computation goes on."""
        return Batch(*(tensor.to(device, non_blocking=True) for tensor in vars(self).values()))


@dataclass(frozen=True)
class _Draw:
    """One patch: its case, input dose, what its scan and its target are of the cached images [2, images], window
    ((start, stop) per axis), mirrored axes, which of FILTERS_MM, how much louder the noise behind it, what counts as
    SUV 1, its noise as the network is told it."""

    case: int
    dose: float
    parts: np.ndarray
    window: list[tuple[int, int]]
    flips: list[int]
    filter: int
    gain: float
    scale: float
    noise: tuple[float, float, float]


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
        variety: Variety = AS_THEY_ARE,
        device: torch.device = CPU,
        lesion_weight: float = LESION_WEIGHT,
        anchors: Sequence[float] = ANCHOR_DOSES,
    ):
        """anchors: the doses of a batch's ladder, ascending, full dose last."""
        self.cases = open_caches(cases)
        self.patch, self.seed, self.variety, self.lesion_weight = patch, seed, variety, lesion_weight
        self.anchors = tuple(anchors)
        self.device = device if device.type == "cuda" and self._fits(device) else CPU
        self.doses = [torch.from_numpy(case.doses).to(self.device) for case in self.cases]
        self.masks = [
            [torch.from_numpy(mask).to(self.device) for mask in (case.body, case.lesions)] for case in self.cases
        ]
        self.input_doses = list(input_doses)
        self.shares = np.array(list(input_doses.values())) / sum(input_doses.values())

    def _fits(self, device: torch.device) -> bool:
        free, _ = torch.cuda.mem_get_info(device)
        return sum(case.doses.nbytes + 2 * case.body.nbytes for case in self.cases) < free / 2

    def batch(self, iteration: int, items: Sequence[int]) -> Batch:
        """The patches numbered `items` of the global batch of this iteration."""
        draws = [self._draw(np.random.default_rng([self.seed, iteration, item])) for item in items]
        # What can be done for the whole batch at once is: on a GPU a hundred small steps per patch would cost more
        # than the training step itself.
        suv = torch.zeros((len(items), 2, *(self.patch,) * 3), device=self.device)
        where = torch.zeros((len(items), 2, *(self.patch,) * 3), device=self.device)
        for k, draw in enumerate(draws):
            self._cut_images(draw, suv[k])
            masks = torch.cat([self._window_of(mask[None], draw) for mask in self.masks[draw.case]])
            self._fit(masks, draw, where[k])
        shares = torch.tensor([[_share(draw.dose, anchor) for anchor in self.anchors] for draw in draws])
        shares = shares[:, :, None, None, None].to(suv)
        target = suv[:, 1:]
        scan = torch.lerp(target, suv[:, :1], _column([draw.gain for draw in draws]).to(self.device))
        scale = _column([draw.scale for draw in draws]).to(self.device)
        values = Intensity(scale).to_network(torch.cat([scan, shares * scan + (1 - shares) * target], dim=1))
        # Of the scan and of where lesions are, never of the target's values: weights that knew those would bias them.
        weight = (1 + scan.clamp(min=0)).clamp(max=WEIGHT_LIMIT)
        weight = torch.where(where[:, 1:] > 0.5, self.lesion_weight * weight, weight)
        weight = torch.where(where[:, :1] > 0.5, weight, AIR_WEIGHT)
        noise = torch.tensor([draw.noise for draw in draws], dtype=torch.float32)
        return Batch(values[:, :1], values[:, 1:], weight, noise)

    def _draw(self, rng: np.random.Generator) -> _Draw:
        number = int(rng.integers(len(self.cases)))
        case = self.cases[number]
        dose = self.variety.dose(rng, float(rng.choice(self.input_doses, p=self.shares)), self.input_doses)
        parts = _parts(dose, len(case.doses))
        zoom, filtered = self.variety.zoom(rng), self.variety.filter(rng)
        window = self._window(case, rng, round(self.patch / zoom))
        flips = [axis for axis in (1, 2, 3) if rng.random() < 0.5]
        level, axial, plane = case.noise(filtered, dose).in_voxels(case.spacing_mm)
        zoom = self.patch / (window[0][1] - window[0][0])
        # The target of a case that has no noise-free image has noise: as part of the scan's the network would learn it.
        gain = self.variety.gain(rng, filtered) if len(case.doses) > len(ALL_DOSES) else 1.0
        level = self.variety.told(rng, gain * level)
        scale = float(parts[0] @ case.body_means) / BODY_MEAN_SUV
        return _Draw(number, dose, parts, window, flips, filtered, gain, scale, (level, axial * zoom, plane * zoom))

    def _window(self, case: CachedCase, rng: np.random.Generator, edge: int) -> list[tuple[int, int]]:
        """(start, stop) per axis around a lesion or a random body voxel, pushed inside the volume where it fits."""
        shape = case.body.shape
        voxels = case.hot_voxels if rng.random() < HOT_SHARE and len(case.hot_voxels) else case.body_voxels
        if len(case.lesion_voxels) and rng.random() < LESION_SHARE:
            voxels = case.lesion_voxels
        centre = np.unravel_index(voxels[rng.integers(len(voxels))], shape)
        quarter = edge // 4
        starts = [
            int(np.clip(c - rng.integers(quarter, edge - quarter), 0, max(0, n - edge)))
            for c, n in zip(centre, shape, strict=True)
        ]
        return [(start, start + edge) for start in starts]

    def _cut_images(self, draw: _Draw, out: torch.Tensor) -> None:
        """Scan and target of a draw [2, z, y, x], filtered, into `out`."""
        images, parts = self._window_of(self.doses[draw.case], draw), torch.from_numpy(draw.parts).to(out)
        block = torch.einsum("kd,dzyx->kzyx", parts, images)
        if draw.filter:
            block = post_filter(block, filter_sigmas(FILTERS_MM[draw.filter], self.cases[draw.case].spacing_mm))
        self._fit(block, draw, out)

    def _window_of(self, array: torch.Tensor, draw: _Draw) -> torch.Tensor:
        """The window of [c, z, y, x], float32; zero past the end."""
        block = array[(slice(None), *(slice(a, b) for a, b in draw.window))].float()
        missing = [n for (a, b), size in zip(draw.window, block.shape[1:], strict=True) for n in (b - a - size, 0)]
        return functional.pad(block, missing[::-1]) if any(missing) else block

    def _fit(self, block: torch.Tensor, draw: _Draw, out: torch.Tensor) -> None:
        """A window [c, z, y, x] mirrored and brought to the patch's voxels, into `out`.

        By splines: between two voxels they keep the noise as large as on them.
        """
        if block.shape[1] != self.patch:
            block = torch.stack([resampled(image, (self.patch,) * 3) for image in block])
        out.copy_(block.flip(draw.flips))


def _column(values: Sequence[float]) -> torch.Tensor:
    """[b] -> [b, 1, 1, 1, 1]"""
    return torch.tensor(values)[:, None, None, None, None]


def _share(dose: float, anchor: float) -> float:
    """How much of an anchor's image the scan itself is: its counts are part of the anchor's. One at or below the scan's
    own dose teaches nothing: the next stands in for it. Full dose is left to the noise-free target."""
    above = min((other for other in ANCHOR_DOSES if other >= max(anchor, dose * 1.01)), default=1.0)
    return 0.0 if above == 1.0 else dose / above


def _parts(dose: float, images: int) -> np.ndarray:
    """What the scan of a dose and its target are of the cached images: [2, images].

    The scan gets the noise of its dose. The target is the noise-free image; of a case that has none, what the counts
    of full dose say beyond those of the scan, which is as right on average and has noise of its own.
    """
    parts = np.zeros((2, images), np.float32)
    low = max((d for d in ALL_DOSES if d <= dose * ROUNDING), default=ALL_DOSES[0])
    high = min((d for d in ALL_DOSES if d >= dose / ROUNDING), default=ALL_DOSES[-1])
    between = min(max(dose, low), high)
    share = nested_shares(low, between, high)[0]
    parts[0, ALL_DOSES.index(low)] += share
    parts[0, ALL_DOSES.index(high)] += 1 - share
    if images > len(ALL_DOSES):
        parts[1, -1] = 1
    else:
        part = min(between, MOST_OF_FULL)
        parts[1] = -part * parts[0] / (1 - part)
        parts[1, ALL_DOSES.index(1.0)] += 1 / (1 - part)
    return parts
