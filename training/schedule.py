"""The learning rate over a run, and the average of its weights: the same for our own model and for its baselines."""

from __future__ import annotations

import copy
import math

import torch
from torch import nn


def rate(config, iteration: int) -> float:
    """Linear warm-up, then a half cosine down to 2 % of config.learning_rate at config.iterations."""
    warm = min(1.0, (iteration + 1) / max(1, config.warmup))
    fall = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * iteration / config.iterations))
    return config.learning_rate * warm * fall


class AveragedWeights:
    """Exponential moving average of a network, `module`, whose memory grows so that the start does not linger.

    torch's AveragedModel counts on the device and so waits for the GPU at every update; here the caller counts.
    """

    def __init__(self, network: nn.Module, decay: float):
        self.module, self.decay = copy.deepcopy(network).requires_grad_(False), decay

    @torch.no_grad()
    def update(self, network: nn.Module, iteration: int) -> None:
        """Take in the network after `iteration` (1, 2, ...) updates."""
        keep = min(self.decay, iteration / (9 + iteration)) if iteration > 1 else 0.0
        torch._foreach_lerp_(list(self.module.parameters()), list(network.parameters()), 1 - keep)
        for own, other in zip(self.module.buffers(), network.buffers(), strict=True):
            own.copy_(other)
