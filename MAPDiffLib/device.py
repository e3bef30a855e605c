"""Where and how to compute: device, number format, layout, and what memory goes to the volumes and what to a tile."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from MAPDiffLib.errors import InputError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
LAYOUTS = (torch.channels_last_3d, torch.contiguous_format)
# Voxels of a tile, each about 0.25 KB: a third of the volume between these bounds, since small tiles are mostly halo.
SMALLEST_ON_CPU, LARGEST_ON_CPU = 3_000_000, 11_000_000
LARGEST_TILE = 100_000_000  # voxels: the widest activation keeps under the 2^31 elements that cuDNN can index
BYTES_PER_VOXEL = 500  # of a tile on a GPU, float32, with cuDNN's workspace
CONTEXT_BYTES = 600_000_000  # CUDA's own, outside torch's allocator
WORTH_IT = {torch.bfloat16: 1.5, torch.float32: 1.1}  # how much faster than the first choice another must be


@dataclass(frozen=True)
class Compute:
    """Device, number format and memory layout of the network."""

    device: torch.device
    dtype: torch.dtype
    layout: torch.memory_format = torch.channels_last_3d


@dataclass(frozen=True)
class Memory:
    """`home`: where the volumes of a restoration lie; `tile_voxels`: how many voxels a tile may have, halo included."""

    home: torch.device
    tile_voxels: int


def choose_compute(device: str, precision: str) -> Compute:
    """The device and number format. "auto": the first GPU, else the CPU (never a Mac's MPS, where 3-D convolutions
    fail); bfloat16 on a GPU, on a CPU what a probe finds fastest. InputError for a device that is not there."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = device.partition(":")
    if kind == "cuda":
        device = f"cuda:{number or 0}"  # some of torch.cuda's functions want a number
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if not (number or "0").isdigit() or int(number or 0) >= count:
            raise InputError(f"device is {device!r}; this machine has {count} CUDA devices; use cpu or auto")
    elif device != "cpu":
        raise InputError(f"device is {device!r}; auto, cpu, cuda or cuda:N is needed")
    if precision not in ("auto", *DTYPES):
        raise InputError(f"precision is {precision!r}; auto, float32 or bfloat16 is needed")
    if kind == "cuda":
        return Compute(torch.device(device), DTYPES.get(precision, torch.bfloat16))
    return fastest_on_cpu((DTYPES[precision],) if precision in DTYPES else tuple(DTYPES.values()))


def fastest_on_cpu(dtypes: Sequence[torch.dtype]) -> Compute:
    """What convolves fastest here, by trial in milliseconds: not every processor has instructions for bfloat16, and
    without them it is many times slower than float32. A near tie stays with the first: float32, channels last."""
    cpu, best, best_seconds = torch.device("cpu"), None, math.inf
    for dtype in dtypes:
        for layout in LAYOUTS if dtype == torch.float32 else LAYOUTS[:1]:
            seconds = _seconds_of_convolution(dtype, layout)
            if seconds * (WORTH_IT[dtype] if best else 1) < best_seconds:
                best, best_seconds = Compute(cpu, dtype, layout), seconds
    return best


@torch.inference_mode()
def _seconds_of_convolution(dtype: torch.dtype, layout: torch.memory_format) -> float:
    # Small, since bfloat16 without its instructions takes 0.1 s for what float32 does in 1 ms.
    convolution = torch.nn.Conv3d(32, 32, 3, padding=1).to(dtype=dtype, memory_format=layout)
    x = torch.zeros(1, 32, 12, 12, 12).to(dtype=dtype, memory_format=layout)
    seconds = []
    for _ in range(4):  # the first also builds the kernel
        started = time.perf_counter()
        convolution(x)
        seconds.append(time.perf_counter() - started)
        if seconds[-1] > 0.05:
            break
    return min(seconds)


def share_memory(compute: Compute, voxels: int, volumes: int, width: int, limit_gb: float | None = None) -> Memory:
    """How to share the memory of the device between `volumes` float32 volumes of `voxels` and one tile.

    `width`: of the network's first level. `limit_gb`: what all of it may take of a GPU; it is then held to that.
    """
    if compute.device.type == "cpu":
        return Memory(compute.device, min(max(voxels // 3, SMALLEST_ON_CPU), LARGEST_ON_CPU))
    free, total = torch.cuda.mem_get_info(compute.device)
    cached = torch.cuda.memory_reserved(compute.device) - torch.cuda.memory_allocated(compute.device)
    asked = total if limit_gb is None else max(int(limit_gb * 1e9) - CONTEXT_BYTES, 0)
    torch.cuda.set_per_process_memory_fraction(min(1.0, asked / total), compute.device)
    budget = min(free + cached, asked)
    held = 4 * voxels * volumes
    home = compute.device if held < budget / 2 else torch.device("cpu")
    left = budget - (held if home == compute.device else 0)
    each = BYTES_PER_VOXEL * width / 32 * compute.dtype.itemsize / 4
    return Memory(home, int(min(LARGEST_TILE, max(0.8 * left / each, 1))))


def out_of_memory(error: Exception) -> bool:
    """Whether an exception says that memory ran out: torch has a class for it on a GPU, but only words on a CPU."""
    words = ("can't allocate memory", "not enough memory", "bad_alloc", "out of memory", "could not create a")  # oneDNN
    return isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)) or any(word in str(error) for word in words)
