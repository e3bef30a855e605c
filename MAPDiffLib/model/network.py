"""The denoising network: a small 3-D U-Net that works at half resolution, conditioned on the scan, t and its noise.

Chosen for a laptop: space-to-depth turns 2 x 2 x 2 voxels into channels, so no convolution runs at full resolution.
No normalisation layer looks at a neighbourhood: a voxel's result does not depend on the tile it was computed in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

STEM = 2  # edge of the space-to-depth block
USUAL_DOSE, USUAL_LEVEL = 0.05, 0.30


@dataclass(frozen=True)
class NetworkConfig:
    """Widths per level, finest first; residual blocks per level and side; length of the conditioning vector."""

    widths: tuple[int, ...] = (32, 96, 192)
    blocks: int = 1
    embedding: int = 128

    def __post_init__(self):
        object.__setattr__(self, "widths", tuple(self.widths))
        if not 1 <= len(self.widths) <= 5 or not all(isinstance(w, int) and 1 <= w <= 512 for w in self.widths):
            raise ValueError(f"widths are {self.widths}; 1 to 5 whole numbers from 1 to 512 are needed")
        if not 1 <= self.blocks <= 8:
            raise ValueError(f"blocks is {self.blocks}; 1 to 8 are needed")
        if not 8 <= self.embedding <= 1024 or self.embedding % 4:
            raise ValueError(f"embedding is {self.embedding}; a multiple of 4 from 8 to 1024 is needed")

    @property
    def stride(self) -> int:
        """Edge lengths must be multiples of this many voxels."""
        return STEM * 2 ** (len(self.widths) - 1)

    @property
    def reach(self) -> int:
        """How many voxels away an input can lie that still changes an output; a multiple of `stride`.

        Walked from an output back to the inputs: two 3 x 3 x 3 convolutions per block and one each in head and stem, of
        voxels that grow from level to level; going down a level, a voxel touched is taken in whole.
        """
        edges = [STEM * 2**level for level in range(len(self.widths))]
        voxels = edges[0]  # head
        for edge in edges:
            voxels = -(-voxels // edge) * edge + 2 * self.blocks * edge
        voxels += sum(2 * self.blocks * edge for edge in edges[:-1]) + edges[0]  # encoder and stem
        return -(-voxels // self.stride) * self.stride


class DenoisingUNet(nn.Module):
    """(x_t, scan, t, noise) -> prediction, all [batch, 1, z, y, x] in network units, edges multiples of `stride`."""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.config = config
        widths, size = config.widths, config.embedding
        self.embed = nn.Sequential(nn.Linear(2 * size, size), nn.SiLU(), nn.Linear(size, size), nn.SiLU())
        self.gains = nn.Linear(size, 2)
        self.stem = nn.Conv3d(2 * STEM**3, widths[0], 3, padding=1)
        self.encoder = nn.ModuleList(_level(width, size, config.blocks) for width in widths)
        self.down = nn.ModuleList(nn.Conv3d(a, b, 2, stride=2) for a, b in zip(widths, widths[1:], strict=False))
        self.up = nn.ModuleList(nn.ConvTranspose3d(b, a, 2, stride=2) for a, b in zip(widths, widths[1:], strict=False))
        self.decoder = nn.ModuleList(_level(width, size, config.blocks) for width in widths[:-1])
        self.head = nn.Conv3d(widths[0], STEM**3, 3, padding=1)
        for last in (self.head, self.gains):  # an untrained network returns the scan itself
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        with torch.no_grad():
            self.gains.bias.copy_(torch.tensor([0.5, 0.0]))

    def forward(self, x_t: torch.Tensor, scan: torch.Tensor, t: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """t in [0, 1] (t / T), float [batch]; noise float [batch, 3]: the scan's relative level, its axial and in-plane
        width in voxels (restoration/noise.py)."""
        emb = self.embed(_embedding(t, noise, self.config.embedding).to(x_t.dtype))
        # How much of the state to look at, and how far to trust it over the scan: one number each per t and noise.
        state_gain, state_blend = self.gains(emb).to(x_t.dtype)[:, :, None, None, None, None].unbind(dim=1)
        h = self.stem(space_to_depth(torch.cat([state_gain * x_t, scan], dim=1)))
        skips = []
        for level, blocks in enumerate(self.encoder):
            for block in blocks:
                h = block(h, emb)
            if level < len(self.down):
                skips.append(h)
                h = self.down[level](h)
        for level in reversed(range(len(self.decoder))):
            h = skips.pop() + self.up[level](h)
            for block in self.decoder[level]:
                h = block(h, emb)
        # The scan's own level is carried past the network: it only has to find noise, also where a bladder is 50 times
        # hotter than anything else and a network that rebuilt the level would be wrong by percents.
        return torch.lerp(scan, x_t, state_blend) + depth_to_space(self.head(h))


class ResidualBlock(nn.Module):
    """x + conv(silu(modulate(conv(silu(x))))): the modulation carries t and the noise (FiLM, arXiv 1709.07871)."""

    def __init__(self, width: int, embedding: int):
        super().__init__()
        self.first = nn.Conv3d(width, width, 3, padding=1)
        self.second = nn.Conv3d(width, width, 3, padding=1)
        self.modulate = nn.Linear(embedding, 2 * width)
        for last in (self.second, self.modulate):  # each block starts as the identity: stable without normalisation
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, x: torch.Tensor, emb: torch.Tensor) -> torch.Tensor:
        """x [batch, channels, z, y, x] modulated by emb [batch, embedding] -> the same shape."""
        scale, shift = self.modulate(emb)[:, :, None, None, None].chunk(2, dim=1)
        h = self.first(functional.silu(x))
        h = torch.addcmul(shift, h, 1 + scale)
        # In place where no gradient needs what is overwritten: a twentieth of the time on a CPU.
        return self.second(functional.silu(h, inplace=not torch.is_grad_enabled())).add_(x)


def _level(width: int, embedding: int, blocks: int) -> nn.ModuleList:
    return nn.ModuleList(ResidualBlock(width, embedding) for _ in range(blocks))


def _embedding(t: torch.Tensor, noise: torch.Tensor, size: int) -> torch.Tensor:
    """Sines and cosines of t, of the level and of both widths: [batch], [batch, 3] -> [batch, 2 size].

    The level counts as the dose that has it on a usual scanner, by the square-root law of counts.
    """
    level, axial, plane = noise.unbind(dim=1)
    dose = USUAL_DOSE * (USUAL_LEVEL / level) ** 2
    frequencies = torch.exp(torch.linspace(0.0, math.log(200.0), size // 4, device=t.device))
    parts = t[:, None] * frequencies, torch.log2(dose)[:, None] / 8 * frequencies
    # Widths are measured to a tenth: finer waves of them would only be noise.
    widths = (torch.log2(width)[:, None] / 32 * frequencies for width in (axial, plane))
    return torch.cat([wave for angles in (torch.cat(parts, dim=1), torch.cat([*widths], dim=1))
                      for wave in (angles.sin(), angles.cos())], dim=1)  # fmt: skip


def space_to_depth(x: torch.Tensor) -> torch.Tensor:
    """[b, c, z, y, x] -> [b, 8 c, z/2, y/2, x/2]."""
    b, c, z, y, w = x.shape
    blocks = x.reshape(b, c, z // STEM, STEM, y // STEM, STEM, w // STEM, STEM)
    return blocks.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(b, c * STEM**3, z // STEM, y // STEM, w // STEM)


def depth_to_space(x: torch.Tensor) -> torch.Tensor:
    """The inverse of `space_to_depth`."""
    b, c, z, y, w = x.shape
    blocks = x.reshape(b, c // STEM**3, STEM, STEM, STEM, z, y, w)
    return blocks.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(b, c // STEM**3, z * STEM, y * STEM, w * STEM)
