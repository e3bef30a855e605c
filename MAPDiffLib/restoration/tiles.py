"""A network over a whole volume, tile by tile: memory is bounded by a tile, air is skipped, the result is seamless.

A tile is a core plus a halo of context, as far as the reach of the network; only the core is kept. Cores start at
multiples of its stride, so that every tile sees the same down-sampling lattice as the whole volume would.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from MAPDiffLib.errors import Cancelled, InputError
from MAPDiffLib.restoration.device import Compute, out_of_memory, share_memory

SMALLEST_EDGE = 32


@dataclass(frozen=True)
class Tile:
    """Slices of the volume: `core` is what the tile answers for, `context` what the network sees."""

    core: tuple[slice, slice, slice]
    context: tuple[slice, slice, slice]

    @property
    def inner(self) -> tuple[slice, slice, slice]:
        """The core within the context."""
        return tuple(
            slice(core.start - seen.start, core.stop - seen.start)
            for core, seen in zip(self.core, self.context, strict=True)
        )

    @property
    def voxels(self) -> int:
        """Voxels that the network computes for this tile."""
        depth, height, width = (seen.stop - seen.start for seen in self.context)
        return depth * height * width


def tile_volume(shape: tuple[int, int, int], edges: tuple[int, int, int], halo: int) -> list[Tile]:
    """Tiles that cover `shape` exactly once with their cores, in z, y, x order."""
    spans = [[(a, min(a + edge, n)) for a in range(0, n, edge)] for n, edge in zip(shape, edges, strict=True)]
    return [
        Tile(
            core=tuple(slice(a, b) for a, b in spans_of_tile),
            context=tuple(
                slice(max(0, a - halo), min(n, b + halo)) for (a, b), n in zip(spans_of_tile, shape, strict=True)
            ),
        )
        for spans_of_tile in itertools.product(*spans)
    ]


def fitting_edges(shape: tuple[int, int, int], stride: int, voxels: int, halo: int) -> tuple[int, int, int]:
    """Edges of the even tiles of at most `voxels`, halo included, for which the network computes least in all.

    Where no tile is small enough: the smallest.
    """

    def seen(n: int, edge: int) -> list[int]:
        """How much of an axis of n voxels each tile along it sees."""
        return [min(n, a + edge + halo) - max(0, a - halo) for a in range(0, n, edge)]

    axes = []
    for n in shape:
        edges = {_round_up(-(-n // parts), stride) for parts in range(1, max(1, n // SMALLEST_EDGE) + 1)}
        axes.append([(edge, sum(seen(n, edge)), max(seen(n, edge))) for edge in sorted(edges, reverse=True)])
    ways = [tuple(zip(*way, strict=True)) for way in itertools.product(*axes)]
    fitting = [(math.prod(sums), edges) for edges, sums, largest in ways if math.prod(largest) <= voxels]
    return min(fitting)[1] if fitting else ways[-1][0]


def _never() -> bool:
    return False


def _round_up(n: int, multiple: int) -> int:
    return -(-n // multiple) * multiple


class TiledNetwork:
    """Evaluates a network on whole volumes; where memory runs out: smaller tiles, then from the GPU to the CPU.

    The volumes lie on `volume_device`, the GPU itself where they fit: then nothing is copied between two evaluations.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        body: torch.Tensor,
        compute: Compute,
        tile: int | None = None,
        warn: Callable[[str], None] = lambda message: None,
        volumes: int = 20,
        limit_gb: float | None = None,
    ):
        """body: bool [z, y, x] with edges that are multiples of the stride; tile: cube edge, None for automatic.

        volumes: how many volumes the caller will hold on `volume_device`; limit_gb: of the GPU's memory, None for all.
        """
        stride = network.config.stride
        if any(n % stride for n in body.shape):
            raise InputError(f"volume is {tuple(body.shape)}; edges that are multiples of {stride} are needed")
        if tile is not None and tile < stride:
            raise InputError(f"tile is {tile} voxels; at least {stride} are needed")
        # A copy: the caller's network keeps its device and precision.
        own = copy.deepcopy(network).eval()
        self.network = own.to(device=compute.device, dtype=compute.dtype, memory_format=compute.layout)
        self._cancelled = _never
        for module in self.network.modules():
            if isinstance(module, (nn.Conv3d, nn.ConvTranspose3d)):
                module.register_forward_hook(self._stop_if_cancelled)
        self.device, self.dtype, self.warn = compute.device, compute.dtype, warn
        memory = share_memory(compute, body.numel(), volumes, network.config.widths[0], limit_gb)
        self.volume_device, self.body = memory.volume_device, body.to(memory.volume_device)
        automatic = fitting_edges(body.shape, stride, memory.tile_voxels, network.config.reach)
        self.edges = automatic if tile is None else (_round_up(tile, stride),) * 3

    @torch.inference_mode()
    def __call__(
        self,
        x_t: torch.Tensor,
        scan: torch.Tensor,
        t: float,
        noise: Sequence[float],
        on_share: Callable[[float], None] = lambda share: None,
        cancelled: Callable[[], bool] = lambda: False,
        mirrored: tuple[int, ...] = (),
    ) -> torch.Tensor:
        """x_t, scan [z, y, x] on `volume_device` -> the network's output, alike; tiles of air stay zero.

        t in [0, 1]; noise: (level, axial, in-plane width in voxels); `mirrored`: axes along which both volumes are
        mirrored against `body`. on_share(share): what of this evaluation is done after each tile, less than before
        where it begins again with smaller ones. Raises Cancelled between two convolutions; MemoryError when even small
        tiles do not fit.
        """
        while True:
            self._cancelled = cancelled
            try:
                return self._evaluate(x_t, scan, t, noise, on_share, mirrored)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                said = str(error)
            finally:
                self._cancelled = _never
            self._need_less_memory(said)  # not in the handler: its traceback holds the tensors of the failed try

    def _evaluate(self, x_t, scan, t, noise, on_share, mirrored) -> torch.Tensor:
        output = torch.zeros_like(x_t)
        body = self.body.flip(mirrored)
        every = tile_volume(tuple(body.shape), self.edges, self.network.config.reach)
        tiles = [tile for tile in every if body[tile.core].any()]
        total, done = sum(tile.voxels for tile in tiles), 0
        told = [torch.tensor([value], device=self.device, dtype=torch.float32) for value in (t, tuple(noise))]
        for tile in tiles:
            self._stop_if_cancelled()
            state, seen = (volume[tile.context][None, None].to(self.device, self.dtype) for volume in (x_t, scan))
            result = self.network(state, seen, *told)
            output[tile.core].copy_(result[0, 0][tile.inner])
            if self.device.type == "cuda":  # so that progress is what has been done, and a cancel comes in time
                torch.cuda.synchronize(self.device)
            done += tile.voxels
            on_share(done / total)
        return output

    def _stop_if_cancelled(self, *_) -> None:
        """After each convolution: a processor works on a large tile for longer than a cancel should wait."""
        if self._cancelled():
            raise Cancelled("cancelled")

    def _need_less_memory(self, said: str) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if max(self.edges) > 2 * SMALLEST_EDGE:
            stride = self.network.config.stride
            self.edges = tuple(_round_up(max(SMALLEST_EDGE, edge // 2), stride) for edge in self.edges)
            self.warn(f"Memory ran out; the job went on with smaller tiles ({max(self.edges)} voxels).")
        elif self.device.type != "cpu":
            self.device, self.dtype = torch.device("cpu"), torch.float32
            self.network = self.network.to(self.device, self.dtype)
            self.warn("The GPU ran out of memory even with small tiles; the job went on, more slowly, on the CPU.")
        else:
            hint = "close other programs, or crop the scan"
            raise MemoryError(f"not enough memory even for small tiles: {hint} (torch says: {said.strip()[:200]})")
