"""A network that says during a call how much of it is done, and that can be stopped there.

A processor works on a large tile for many seconds: too long between two lines of progress, or for a cancel to wait.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

from MAPDiffLib.errors import Cancelled

CONVOLUTIONS = (nn.Conv3d, nn.ConvTranspose3d)


def multiply_adds(convolution: nn.Module, shape: tuple[int, ...]) -> int:
    """Of one call on an input [b, c, z, y, x]. A transposed convolution spreads every input voxel, a plain one gathers
    every output."""
    positions = math.prod(shape[2:])
    if isinstance(convolution, nn.Conv3d):
        positions //= math.prod(convolution.stride)
    return convolution.weight.numel() * positions


class Stepwise:
    """Calls `network`, which it changes: hooks after its convolutions, whose multiply-adds are the measure of work."""

    def __init__(self, network: nn.Module):
        self.network = network
        self.per_voxel = None  # multiply-adds per voxel of the input, known after the first call
        self._after = self._ignore
        for module in network.modules():
            if isinstance(module, CONVOLUTIONS):
                module.register_forward_hook(lambda *call: self._after(*call))

    def __call__(
        self,
        *inputs: torch.Tensor,
        on_share: Callable[[float], None] = lambda share: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> torch.Tensor:
        """The network's output; on_share(share of this call done so far) from the second call on. Raises Cancelled."""
        voxels, done = inputs[0].numel(), 0.0

        def after(module: nn.Module, given: tuple, output: torch.Tensor) -> None:
            nonlocal done
            if cancelled():
                raise Cancelled("cancelled")
            done += multiply_adds(module, given[0].shape) / voxels
            if self.per_voxel:
                on_share(min(1.0, done / self.per_voxel))

        self._after = after
        try:
            output = self.network(*inputs)
        finally:
            self._after = self._ignore
        self.per_voxel = done
        return output

    @staticmethod
    def _ignore(module: nn.Module, given: tuple, output: torch.Tensor) -> None:
        """Outside a call that is watched."""
