"""Where and how to compute: device, number format, layout, and what memory goes to the volumes and what to a tile."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass

import torch

from MAPDiffLib.errors import InputError, says_out_of_memory

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
LAYOUTS = (torch.channels_last_3d, torch.contiguous_format)
LARGEST_ON_CPU = 32_000_000  # voxels of a tile, about 65 bytes each: most bodies whole, since halo is computed twice
LARGEST_TILE = 100_000_000  # voxels: the widest activation keeps under the 2^31 elements that cuDNN can index
BYTES_PER_VOXEL = 500  # of a tile on a GPU, float32, with cuDNN's workspace
CONTEXT_BYTES = 600_000_000  # CUDA's own, outside torch's allocator
OTHER_TORCH = "Another build of torch may know this GPU: https://pytorch.org/get-started/locally"


@dataclass(frozen=True)
class Compute:
    """Device, number format and memory layout of the network."""

    device: torch.device
    dtype: torch.dtype
    layout: torch.memory_format = torch.channels_last_3d


@dataclass(frozen=True)
class Memory:
    """`volume_device`: where a restoration's volumes lie; `tile_voxels`: how many a tile may have, halo included."""

    volume_device: torch.device
    tile_voxels: int


def choose_compute(device: str, precision: str, warn: Callable[[str], None] = lambda message: None) -> Compute:
    """The device and number format. "auto": the first GPU, else the CPU (never a Mac's MPS, where 3-D convolutions
    fail); bfloat16 on a GPU, float32 on a CPU. InputError for a device that is not there or does not compute; with
    "auto" that is a warning, and the CPU computes."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
        if device == "cuda" and (problem := trial(torch.device("cuda", 0), DTYPES.get(precision, torch.bfloat16))):
            warn(f"The GPU cannot be used ({problem}): the CPU computes, which takes longer. {OTHER_TORCH}")
            device = "cpu"
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
    # Some CPUs are twice as fast in bfloat16, but it is off by thousandths: every CPU shall give the same answer.
    dtype = DTYPES.get(precision, torch.bfloat16 if kind == "cuda" else torch.float32)
    if kind == "cuda" and (problem := trial(torch.device(device), dtype)):
        raise InputError(f"device {device} cannot be used ({problem}): choose cpu. {OTHER_TORCH}")
    if kind == "cuda" or dtype != torch.float32:
        return Compute(torch.device(device), dtype)
    return Compute(torch.device(device), dtype, cpu_layout())


@torch.inference_mode()
def trial(device: torch.device, dtype: torch.dtype) -> str:
    """Why a tiny convolution fails on the device, in torch's words; "" where it works.

    A GPU may be there, and torch know of it, and no kernel of this build be made for it (sm_50 to sm_120).
    """
    try:
        ones = torch.full((1, 1, 4, 4, 4), 1.0, device=device, dtype=dtype)
        total = float(torch.nn.functional.conv3d(ones, ones).cpu().float())
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch was built without CUDA
        return (str(error).strip() or type(error).__name__).splitlines()[0]
    return "" if total == 64 else f"4 x 4 x 4 ones add up to {total:g} on it"


def cpu_layout() -> torch.memory_format:
    """In which float32 convolves fastest on this kind of processor: oneDNN's kernels for x86 are made for channels
    last; where there are none, torch's own are slow in it."""
    return LAYOUTS[0] if platform.machine().lower() in ("x86_64", "amd64") else LAYOUTS[1]


def share_memory(compute: Compute, voxels: int, volumes: int, width: int, limit_gb: float | None = None) -> Memory:
    """How to share the memory of the device between `volumes` float32 volumes of `voxels` and one tile.

    `width`: of the network's first level. `limit_gb`: what all of it may take of a GPU; it is then held to that.
    """
    if compute.device.type == "cpu":
        return Memory(compute.device, LARGEST_ON_CPU)
    free, total = torch.cuda.mem_get_info(compute.device)
    cached = torch.cuda.memory_reserved(compute.device) - torch.cuda.memory_allocated(compute.device)
    asked = total if limit_gb is None else max(int(limit_gb * 1e9) - CONTEXT_BYTES, 0)
    torch.cuda.set_per_process_memory_fraction(min(1.0, asked / total), compute.device)
    budget = min(free + cached, asked)
    held = 4 * voxels * volumes
    volume_device = compute.device if held < budget / 2 else torch.device("cpu")
    left = budget - (held if volume_device == compute.device else 0)
    each = BYTES_PER_VOXEL * width / 32 * compute.dtype.itemsize / 4
    return Memory(volume_device, int(min(LARGEST_TILE, max(0.8 * left / each, 1))))


def out_of_memory(error: Exception) -> bool:
    """Whether an exception says that memory ran out: torch has a class for it on a GPU, but only words on a CPU."""
    return isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)) or says_out_of_memory(str(error))
