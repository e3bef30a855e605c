"""What number format, layout and compiler are worth on this machine: seconds of one evaluation of the network."""

from __future__ import annotations

import copy

import torch

from bench.scans import usual_noise
from bench.timing import repeated, seconds_of, summary
from MAPDiffLib.model.bundle import Bundle
from MAPDiffLib.restoration.device import DTYPES, LAYOUTS, choose_compute


@torch.inference_mode()
def dtype_and_layout(bundle: Bundle, device: str, edge: int, repeats: int, budget_s: float) -> dict[str, dict]:
    """{choice: {"seconds", "first_s" with all that starts up, ...}}: a cube of `edge` voxels, each format and layout;
    on a GPU also cuDNN's search, torch.compile and a CUDA graph around what the library chooses."""
    chosen = choose_compute(device, "auto")
    cuda = chosen.device.type == "cuda"
    dtypes = DTYPES.values() if cuda or _has_bfloat16() else [torch.float32]
    found = {}
    for dtype in dtypes:
        for layout in LAYOUTS:
            name = f"{dtype}, {layout}".replace("torch.", "")
            found[name] = _timed(_forward(bundle, chosen.device, dtype, layout, edge), device, repeats, budget_s)
    if cuda:
        forward = _forward(bundle, chosen.device, chosen.dtype, chosen.layout, edge)
        torch.backends.cudnn.benchmark = True
        found["with cuDNN's search"] = _timed(forward, device, repeats, budget_s)
        torch.backends.cudnn.benchmark = False
        found["as a CUDA graph"] = _timed(_graph(forward), device, repeats, budget_s)
        found["with torch.compile"] = _timed(torch.compile(forward), device, repeats, budget_s)
    return found


def _has_bfloat16() -> bool:
    """Whether this CPU has x86's instructions for it, without which it takes minutes; no where torch cannot tell."""
    known = getattr(torch.cpu, "get_capabilities", dict)()
    return known.get("avx512_bf16", False) or known.get("amx_bf16", False)


def _forward(bundle: Bundle, device: torch.device, dtype: torch.dtype, layout: torch.memory_format, edge: int):
    network = copy.deepcopy(bundle.network).to(device=device, dtype=dtype, memory_format=layout)
    x = torch.zeros(1, 1, edge, edge, edge, device=device, dtype=dtype)
    t, told = torch.tensor([0.5], device=device), usual_noise(device)
    return lambda: network(x, x, t, told)


def _graph(forward):
    forward()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        forward()
    return graph.replay


def _timed(forward, device: str, repeats: int, budget_s: float) -> dict:
    first = seconds_of(forward, device)
    return {**summary(repeated(forward, repeats, budget_s, device)), "first_s": first}
