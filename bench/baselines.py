"""What a user would pick instead, each timed over equal parts of its work on the very same scan.

A baseline is `units` equal parts of which `run` does one: a network's patch, a sampler's step, a filter's slab. Its
time is the median part times the number of parts; `how` says so.
"""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from bench.scans import usual_noise
from MAPDiffLib.model.bundle import Bundle
from MAPDiffLib.model.diffusion import ancestral_sampler
from MAPDiffLib.restoration.box import BodyBox
from MAPDiffLib.restoration.device import Compute
from MAPDiffLib.restoration.intensity import Intensity
from MAPDiffLib.restoration.noise import UNKNOWN_NOISE
from MAPDiffLib.restoration.tiles import TiledNetwork
from MAPDiffLib.scan.geometry import bounding_box
from MAPDiffLib.scan.volume import Volume

PATCH, OVERLAP = 96, 48
SLAB = 32  # slices of a filter's part, with the context that it needs on either side


@dataclass(frozen=True)
class Baseline:
    """One alternative: its name, how it was timed, and its equal parts."""

    name: str
    how: str
    units: int
    run: Callable[[], object]


def plain_unet(scan: Volume, bundle: Bundle, compute: Compute) -> Iterator[Baseline]:
    """What a restoration's time is held against: the plainest network that does the same."""
    yield _patchwise("(a) plain 3-D U-Net, one pass", PlainUNet(), scan, compute.device)


def baselines(scan: Volume, bundle: Bundle, compute: Compute) -> Iterator[Baseline | str]:
    """Every other baseline that can be run here; a text says which cannot and why."""
    device = compute.device
    yield from _with("monai", lambda: _monai_ddim(scan, bundle, compute))
    yield _ddpm(scan, bundle, compute)
    yield from _with("monai", lambda: _patchwise("(d) SwinUNETR, one pass", _swin(), scan, device))
    if device.type == "cuda":
        yield "(e) non-local means and BM4D run on the CPU only: see the bench there"
        return
    yield from _with("skimage", lambda: _non_local_means(scan))
    yield from _with("bm4d", lambda: _bm4d(scan))


def _with(module: str, make: Callable[[], Baseline]) -> Iterator[Baseline | str]:
    yield make() if importlib.util.find_spec(module) else f"{make.__name__}: {module} is not installed"


class PlainUNet(nn.Module):
    """The runner-up of the UDPET 2025 challenge as described: three levels, 16 start features, one pass."""

    def __init__(self, features: int = 16, levels: int = 3):
        super().__init__()
        widths = [features * 2**k for k in range(levels + 1)]
        self.down = nn.ModuleList(nn.Conv3d(w, w, 3, stride=2, padding=1) for w in widths[:-1])
        self.encoder = nn.ModuleList(_double(a, b) for a, b in zip([1, *widths[:-1]], widths, strict=True))
        self.decoder = nn.ModuleList(_double(a + b, a) for a, b in zip(widths, widths[1:], strict=False))
        self.head = nn.Conv3d(features, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, 1, z, y, x] -> the same shape; edges multiples of 8."""
        skips = []
        for level, encode in enumerate(self.encoder):
            x = encode(x if level == 0 else self.down[level - 1](x))
            skips.append(x)
        x = skips.pop()
        for decode in reversed(self.decoder):
            x = functional.interpolate(x, scale_factor=2, mode="trilinear")
            x = decode(torch.cat([skips.pop(), x], dim=1))
        return self.head(x)


def _double(inputs: int, outputs: int) -> nn.Sequential:
    parts = []
    for channels in (inputs, outputs):
        parts += [nn.Conv3d(channels, outputs, 3, padding=1), nn.BatchNorm3d(outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*parts)


def _patchwise(name: str, network: nn.Module, scan: Volume, device: torch.device) -> Baseline:
    """A network over the whole volume in float32: 96^3 patches that overlap by 48, added up and divided."""
    network = network.eval().to(device)
    volume = torch.from_numpy(scan.voxels).to(device)
    volume = functional.pad(volume, [part for n in reversed(volume.shape) for part in (0, max(0, PATCH - n))])
    total, weight = torch.zeros_like(volume), torch.zeros_like(volume)
    counts = [-(-(n - PATCH) // (PATCH - OVERLAP)) + 1 for n in volume.shape]
    corner = tuple(slice((n - PATCH) // 2, (n - PATCH) // 2 + PATCH) for n in volume.shape)

    @torch.inference_mode()
    def one_patch() -> None:
        total[corner] += network(volume[corner][None, None])[0, 0]
        weight[corner] += 1

    parameters = sum(p.numel() for p in network.parameters()) / 1e6
    how = f"{parameters:.1f} M parameters, float32; one 96^3 patch x {np.prod(counts)}"
    return Baseline(name, how, int(np.prod(counts)), one_patch)


def _swin() -> nn.Module:
    from monai.networks.nets import SwinUNETR

    return SwinUNETR(in_channels=1, out_channels=1, feature_size=24)


def _monai_ddim(scan: Volume, bundle: Bundle, compute: Compute) -> Baseline:
    """Our network as MONAI would run it: its sliding window over the whole volume, its DDIM scheduler, 50 steps."""
    from monai.inferers import sliding_window_inference
    from monai.networks.schedulers import DDIMScheduler

    network = copy.deepcopy(bundle.network).to(compute.device)
    intensity = Intensity.of_scan(scan.voxels, scan.body)
    condition = intensity.to_network(torch.from_numpy(scan.voxels).to(compute.device))[None, None]
    scheduler = DDIMScheduler(num_train_timesteps=1000, prediction_type="sample", clip_sample=False)
    scheduler.set_timesteps(50)
    state = torch.randn_like(condition)
    told = usual_noise(compute.device)

    @torch.inference_mode()
    def one_step() -> None:
        time = torch.tensor([0.5], device=compute.device)

        def denoise(patch: torch.Tensor) -> torch.Tensor:
            return network(patch[:, :1], patch[:, 1:], time, told)

        both = torch.cat([state, condition], dim=1)
        x0_hat = sliding_window_inference(both, (PATCH,) * 3, 1, denoise, overlap=0.25)
        scheduler.step(x0_hat, 500, state)

    return Baseline("(b) MONAI sliding window, DDIM", "our network, float32; one step x 50", 50, one_step)


def _ddpm(scan: Volume, bundle: Bundle, compute: Compute) -> Baseline:
    """The 1,000-step reverse process of Ho et al. 2020 with our network and our tiles, over the body's box only."""
    box = BodyBox.around(scan.body, bundle.network.config.stride)
    network = TiledNetwork(bundle.network, box.crop(scan.body), compute)
    diffusion = bundle.manifest.diffusion
    intensity = Intensity.of_scan(scan.voxels, scan.body)
    condition = intensity.to_network(box.crop(scan.voxels).to(network.volume_device))
    generator, told = torch.Generator().manual_seed(0), UNKNOWN_NOISE.in_voxels(scan.spacing_mm)

    def denoise(x_t: torch.Tensor, t: int) -> torch.Tensor:
        return diffusion.x0_from(network(x_t, condition, t / diffusion.timesteps, told), x_t, t)

    steps = range(diffusion.timesteps - 1, -1, -1)
    walk = ancestral_sampler(diffusion, denoise, torch.randn_like(condition), steps, generator)
    next(walk)
    dtype = str(compute.dtype).removeprefix("torch.")
    how = f"our network and tiles, {dtype}; one step x 1000"
    return Baseline("(c) DDPM, 1,000 steps", how, 1000, lambda: next(walk))


def _non_local_means(scan: Volume) -> Baseline:
    from skimage.restoration import denoise_nl_means

    def run(slab: np.ndarray) -> None:
        denoise_nl_means(slab, patch_size=3, patch_distance=4, h=0.15, sigma=0.15, fast_mode=True)

    return _slabwise("(e) non-local means", "scikit-image, 3^3 patches, 9^3 search", scan, run, context=5)


def _bm4d(scan: Volume) -> Baseline:
    from bm4d import BM4DProfile, bm4d

    def run(slab: np.ndarray) -> None:
        bm4d(slab, 0.15, profile=BM4DProfile())

    return _slabwise("(e) BM4D", "bm4d, its normal profile", scan, run, context=8)


def _slabwise(name: str, how: str, scan: Volume, run: Callable[[np.ndarray], object], context: int) -> Baseline:
    """A filter on the box of the body (a user would crop too), a slab of 32 slices at a time."""
    box = scan.voxels[bounding_box(scan.body)]
    middle = len(box) // 2
    slab = np.ascontiguousarray(box[max(0, middle - SLAB // 2 - context) : middle + SLAB // 2 + context])
    units = -(-len(box) // SLAB)
    return Baseline(name, f"{how}; one slab of {SLAB} slices x {units}", units, lambda: run(slab))
