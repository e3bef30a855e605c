"""What a baseline learns from a batch: our weighted absolute error in one pass, with or without a discriminator."""

from __future__ import annotations

import torch
from torch import nn

from training.baselines.config import BaselineConfig
from training.baselines.models import OnePass, adversarial_loss, discriminator
from training.cases.patches import Batch
from training.loss import weighted_mean


class Regression:
    """One-pass regression: the weighted mean absolute error of our own loss, per patch."""

    def __init__(self, network: OnePass, config: BaselineConfig):
        self.network, self.clip = network, config.gradient_clip
        self.optimizers = {"generator": _adam(network, config, (0.9, 0.99))}
        self.modules = {"generator": network}

    def step(self, batch: Batch, autocast) -> dict[str, torch.Tensor]:
        """One update; the losses as scalars."""
        with autocast():
            estimate = self.network.restore(batch.scan, batch.noise)
        loss = weighted_mean(batch.weight, (estimate.float() - batch.ladder[:, -1:]).abs()).mean()
        _update(self.optimizers["generator"], self.network, loss, self.clip)
        return {"absolute": loss.detach()}


class Adversarial:
    """Conditional GAN (pix2pix, arXiv 1611.07004), least squares: weighted L1 plus a discriminator's judgement."""

    def __init__(self, network: OnePass, config: BaselineConfig):
        self.network, self.clip, self.share = network, config.gradient_clip, config.adversarial
        self.judge, self.judgement = discriminator(), adversarial_loss()
        self.modules = {"generator": network, "discriminator": self.judge}
        self.optimizers = {name: _adam(module, config, (0.5, 0.99)) for name, module in self.modules.items()}

    def step(self, batch: Batch, autocast) -> dict[str, torch.Tensor]:
        """One update of each network; the losses as scalars."""
        scan, full = batch.scan, batch.ladder[:, -1:]
        with autocast():
            estimate = self.network.restore(scan, batch.noise).float()
            judged = self._judged(scan, full, estimate.detach())
        _update(self.optimizers["discriminator"], self.judge, judged, self.clip)
        for parameter in self.judge.parameters():
            parameter.requires_grad_(False)
        with autocast():
            fooled = self.judgement(self._look(scan, estimate), target_is_real=True, for_discriminator=False)
        absolute = weighted_mean(batch.weight, (estimate - full).abs()).mean()
        _update(self.optimizers["generator"], self.network, absolute + self.share * fooled, self.clip)
        for parameter in self.judge.parameters():
            parameter.requires_grad_(True)
        return {"absolute": absolute.detach(), "adversarial": fooled.detach(), "discriminator": judged.detach()}

    def _judged(self, scan: torch.Tensor, full: torch.Tensor, estimate: torch.Tensor) -> torch.Tensor:
        real = self.judgement(self._look(scan, full), target_is_real=True, for_discriminator=True)
        made = self.judgement(self._look(scan, estimate), target_is_real=False, for_discriminator=True)
        return 0.5 * (real + made)

    def _look(self, scan: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        return self.judge(torch.cat([scan, image], dim=1))[-1].float()


def objective(network: OnePass, config: BaselineConfig) -> Regression | Adversarial:
    """What a baseline of this configuration learns from."""
    return (Adversarial if config.name == "gan" else Regression)(network, config)


def _adam(module: nn.Module, config: BaselineConfig, betas: tuple[float, float]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(module.parameters(), lr=config.learning_rate, weight_decay=1e-4, betas=betas)


def _update(optimizer: torch.optim.Optimizer, module: nn.Module, loss: torch.Tensor, clip: float) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(module.parameters(), clip)
    optimizer.step()
