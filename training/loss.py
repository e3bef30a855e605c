"""The training objective of MAP-Diff: L = L_noise + lambda * E_t[w(t) * |x0_hat(x_t, t | y) - a(t)|^2]."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from MAPDiffLib.doses import anchor_of, anchor_weight
from training.config import TrainConfig


@dataclass(frozen=True)
class Loss:
    """The two terms, each a scalar; the anchor term also per interval of a(t) (nan where the batch had none)."""

    denoising: torch.Tensor
    anchor: torch.Tensor
    per_anchor: tuple[float, ...]
    total: torch.Tensor


def anchored_loss(
    output: torch.Tensor,
    x_t: torch.Tensor,
    noise: torch.Tensor,
    t: torch.Tensor,
    ladder: torch.Tensor,
    weight: torch.Tensor,
    config: TrainConfig,
) -> Loss:
    """output, x_t, noise [b, 1, z, y, x]; t int [b]; ladder [b, anchors, z, y, x], full dose last; weight like x_t.

    `weight` is 1 in the body and small outside. The denoising term is in the units of the prediction type; the anchor
    term in those of x0, where eps-prediction's 1/alpha_bar would otherwise swamp it: x0_hat is clipped to [-20, 20].
    """
    diffusion, anchors = config.diffusion, config.anchors
    x0 = ladder[:, -1:]
    denoising = _mean(weight, output - diffusion.target(x0, noise, t)).mean()
    x0_hat = diffusion.x0_from(output, x_t, t).clamp(-20, 20)
    which = anchor_of(t, anchors)
    target = ladder[torch.arange(len(t), device=t.device), which][:, None]
    error = _mean(weight, x0_hat - target)
    anchor = (anchor_weight(t, diffusion.timesteps, config.power) * error).mean()
    per_anchor = tuple(error.detach()[which == i].mean().item() for i in range(len(anchors)))
    return Loss(denoising, anchor, per_anchor, denoising + config.anchor_lambda * anchor)


def _mean(weight: torch.Tensor, error: torch.Tensor) -> torch.Tensor:
    """Weighted mean square per item of the batch: [b]."""
    axes = (1, 2, 3, 4)
    return (weight * error.square()).sum(dim=axes) / weight.sum(dim=axes).clamp(min=1.0)
