"""The roofline: what this machine's convolutions and products reach, and which share of it a restoration reaches."""

from __future__ import annotations

import copy
import math
from collections import Counter
from dataclasses import dataclass

import torch
from torch import nn

from bench.scans import usual_noise
from bench.timing import Stages, repeated, summary
from MAPDiffLib.job import RestoreOptions
from MAPDiffLib.model.bundle import Bundle
from MAPDiffLib.model.network import DenoisingUNet
from MAPDiffLib.restoration import facts, restore, sampling, tiles
from MAPDiffLib.restoration.consistency import Consistency
from MAPDiffLib.restoration.device import Compute
from MAPDiffLib.scan.volume import Volume

# Exclusive seconds go to the first of these that is running: the convolutions are inside the network, and so on.
STAGES = {
    "body mask": [(restore.BodyBox, "around"), (facts, "body_mean")],
    "noise of the scan": [(facts, "relative_noise"), (facts, "measure_noise")],
    "convolutions": [(nn.Conv3d, "forward"), (nn.ConvTranspose3d, "forward")],
    "rest of the network": [(DenoisingUNet, "forward")],
    "tiles": [(tiles.TiledNetwork, "__call__")],
    "noise": [(sampling, "draw_noise")],
    "doses": [(restore, "at_dose")],
    "guard": [(restore, "guard_activity")],
    "local guard and places": [(restore, "find_peaks"), (Consistency, "z"), (restore, "put_back")],
    "figures": [(restore, "_figures")],
}
CONVOLUTIONS = (nn.Conv3d, nn.ConvTranspose3d)


@dataclass(frozen=True)
class Layer:
    """One kind of convolution as it occurs in the network: the module and the shape that it sees."""

    module: nn.Module
    shape: tuple[int, ...]


@torch.inference_mode()
def roofline(bundle: Bundle, compute: Compute, edge: int, repeats: int, budget_s: float) -> dict:
    """How close the network comes to its own convolutions run alone, in the same format, layout and channels."""
    device = str(compute.device)
    network = copy.deepcopy(bundle.network).to(device=compute.device, dtype=compute.dtype, memory_format=compute.layout)
    x = torch.zeros(1, 1, edge, edge, edge, device=compute.device, dtype=compute.dtype)
    t, told = torch.tensor([0.5], device=compute.device), usual_noise(compute.device)

    def forward() -> None:
        network(x, x, t, told)

    layers, io_bytes = _layers(network, forward)
    whole = summary(repeated(forward, repeats, budget_s, device))
    alone, flops = 0.0, 0.0
    rates = {}
    for layer, count in layers.items():
        inputs = torch.randn(layer.shape, device=compute.device).to(dtype=compute.dtype, memory_format=compute.layout)
        seconds = summary(repeated(lambda m=layer.module, i=inputs: m(i), repeats, budget_s, device))["seconds"]
        alone += count * seconds
        flops += count * _flops(layer)
        rates[_name(layer)] = _flops(layer) / seconds / 1e9
    return {
        "edge": edge,
        "dtype": str(compute.dtype).removeprefix("torch."),
        "layout": str(compute.layout).removeprefix("torch."),
        "network_seconds": whole["seconds"],
        "kflop_per_voxel": flops / edge**3 / 1e3,
        "bytes_per_voxel": io_bytes / edge**3,
        "network_gflops": flops / whole["seconds"] / 1e9,
        "convolutions_gflops": flops / alone / 1e9,
        "share_of_convolutions": alone / whole["seconds"],
        "matmul_gflops": _matmul_rate(compute, repeats, budget_s),
        "copy_gb_per_s": _copy_rate(device, repeats, budget_s),
        "gflops_by_convolution": rates,
    }


def _layers(network: nn.Module, forward) -> tuple[Counter, int]:
    """{Layer: how often} of the convolutions of one evaluation, alike ones as one; the bytes they read and write."""
    found, io_bytes = Counter(), 0
    known: dict[tuple, Layer] = {}

    def note(module: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        nonlocal io_bytes
        shape = tuple(inputs[0].shape)
        key = (type(module), tuple(module.weight.shape), module.stride, shape)
        found[known.setdefault(key, Layer(module, shape))] += 1
        io_bytes += (inputs[0].numel() + output.numel()) * output.element_size()

    hooks = [m.register_forward_hook(note) for m in network.modules() if isinstance(m, CONVOLUTIONS)]
    forward()
    for hook in hooks:
        hook.remove()
    return found, io_bytes


def _flops(layer: Layer) -> float:
    """Two per multiply-add. A transposed convolution spreads every input voxel, a plain one gathers every output."""
    positions = math.prod(layer.shape[2:])
    if isinstance(layer.module, nn.Conv3d):
        positions //= math.prod(layer.module.stride)
    return 2.0 * layer.module.weight.numel() * positions


def _name(layer: Layer) -> str:
    a, b = layer.module.in_channels, layer.module.out_channels
    kernel = layer.module.kernel_size[0]
    up = " up" if isinstance(layer.module, nn.ConvTranspose3d) else ""
    return f"{a}-{b}, {kernel}^3{up}, on {' x '.join(map(str, layer.shape[2:]))}"


def _matmul_rate(compute: Compute, repeats: int, budget_s: float) -> float:
    n = 8192 if compute.device.type == "cuda" else 1024
    a = torch.randn(n, n, device=compute.device).to(compute.dtype)
    seconds = summary(repeated(lambda: a @ a, repeats, budget_s, str(compute.device)))["seconds"]
    return 2 * n**3 / seconds / 1e9


def _copy_rate(device: str, repeats: int, budget_s: float) -> float:
    source = torch.zeros(64_000_000, device=device)
    target = torch.empty_like(source)
    seconds = summary(repeated(lambda: target.copy_(source), repeats, budget_s, device))["seconds"]
    return 2 * source.numel() * 4 / seconds / 1e9


def profile(scan: Volume, bundle: Bundle, options: RestoreOptions) -> dict[str, float]:
    """Exclusive seconds of each stage of one restoration, array to arrays; "sampler and volumes" is all the rest."""
    stages = Stages("cuda" if options.device.startswith("cuda") else "cpu")
    fresh = Volume(scan.voxels, scan.spacing_mm, units=scan.units)  # its body not yet found
    with stages.watching(STAGES), stages.stage("sampler and volumes"):
        with stages.stage("body mask"):
            _ = fresh.body
        for _ in restore.restore(fresh, bundle, options):
            pass
    return stages.seconds
