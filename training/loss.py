"""The training objective of MAP-Diff: L = L_noise + lambda * E_t[w(t) * |x0_hat(x_t, t | y) - a(t)|^n].

n is 2 in the paper. Ours is 1: weighted by 1 + SUV, the error of log1p(SUV) is then the NMAE that a restoration is
judged by, and fine-tuning from one network for equally long improved NMAE twice as fast and PSNR faster too.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from MAPDiffLib.restoration.doses import anchor_of, anchor_weight
from training.config import TrainConfig

NO_ANCHOR = -1


@dataclass(frozen=True)
class Loss:
    """The two terms and lambda * w(t) of each item [b]; which anchor supervises it, int [b], NO_ANCHOR without the
    anchor term; x0_hat [b, 1, z, y, x]."""

    denoising: torch.Tensor
    anchor: torch.Tensor
    anchor_weight: torch.Tensor
    anchor_index: torch.Tensor
    x0_hat: torch.Tensor

    @property
    def total(self) -> torch.Tensor:
        """The objective of each item: [b]."""
        return self.denoising + self.anchor_weight * self.anchor

    @property
    def balanced(self) -> torch.Tensor:
        """The objective divided by the sum of its weights: evaluations with and without an anchor count alike."""
        return self.total / (1 + self.anchor_weight)


def anchored_loss(
    output: torch.Tensor,
    x_t: torch.Tensor,
    noise: torch.Tensor,
    t: torch.Tensor,
    ladder: torch.Tensor,
    weight: torch.Tensor,
    config: TrainConfig,
) -> Loss:
    """output, x_t, noise [b, 1, z, y, x]; t int [b]; ladder [b, anchors, z, y, x], full dose last, or full dose
    alone where lambda is 0; weight like x_t.

    `weight` is 1 in the body and small outside. The denoising term is in the units of the prediction type; the anchor
    term in those of x0, where eps-prediction's 1/alpha_bar would otherwise swamp it: x0_hat is clipped to [-20, 20].
    """
    diffusion = config.diffusion
    x0 = ladder[:, -1:]
    denoising = weighted_mean(weight, _error(output - diffusion.target(x0, noise, t), config))
    x0_hat = diffusion.x0_from(output, x_t, t).clamp(-20, 20)
    if not config.anchor_lambda:
        nothing = torch.zeros_like(denoising)
        return Loss(denoising, nothing, nothing, torch.full_like(nothing, NO_ANCHOR, dtype=torch.int64), x0_hat)
    anchor_index = anchor_of(t, config.anchors).to(output.device)
    target = ladder[torch.arange(len(t), device=output.device), anchor_index][:, None]
    supervises = torch.tensor([anchor.dose in config.anchored_doses for anchor in config.anchors], device=output.device)
    lambda_w = config.anchor_lambda * anchor_weight(t, diffusion.timesteps, config.power).to(output)
    lambda_w = lambda_w * supervises[anchor_index]
    return Loss(denoising, weighted_mean(weight, _error(x0_hat - target, config)), lambda_w, anchor_index, x0_hat)


def _error(difference: torch.Tensor, config: TrainConfig) -> torch.Tensor:
    return difference.abs() if config.error == "absolute" else difference.square()


def weighted_mean(weight: torch.Tensor, error: torch.Tensor) -> torch.Tensor:
    """Weighted mean per item of the batch: both [b, 1, z, y, x] -> [b]."""
    axes = (1, 2, 3, 4)
    return (weight * error).sum(dim=axes) / weight.sum(dim=axes).clamp(min=1.0)
