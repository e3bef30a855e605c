"""The baselines' networks, MONAI's own, each behind the interface of our denoiser.

A baseline restores in one pass: of (x_t, scan, t, noise) it looks at the scan and its level of noise alone. Like ours
it works on log1p(SUV), adds its output to the scan and, untrained, returns the scan itself.
"""

from __future__ import annotations

import torch
from torch import nn

from MAPDiffLib.errors import InputError
from training.baselines.config import WIDTHS, BaselineConfig

INPUTS = 2  # the scan and its level of noise


class OnePass(nn.Module):
    """(x_t, scan, t, noise) -> no noise, all [batch, 1, z, y, x] in network units; x_t and t are not looked at."""

    def __init__(self, config: BaselineConfig):
        super().__init__()
        self.config = config
        self.body = _body(config)

    def forward(self, x_t: torch.Tensor, scan: torch.Tensor, t: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """As DenoisingUNet.forward; x_t and t are not looked at."""
        level = (torch.log2(noise[:, 0]) / 4).to(scan.dtype)[:, None, None, None, None].expand_as(scan)
        return scan + self.body(torch.cat([scan, level], dim=1))

    def restore(self, scan: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """The noise-free image of a scan [batch, 1, z, y, x] with this noise [batch, 3]."""
        return self(scan, scan, noise, noise)


def discriminator() -> nn.Module:
    """MONAI's PatchGAN: scan and image as channels [batch, 2, z, y, x] -> a list of maps, the logits last."""
    return _monai("networks.nets").PatchDiscriminator(spatial_dims=3, channels=32, in_channels=2, num_layers_d=3)


def adversarial_loss() -> nn.Module:
    """Least squares (LSGAN, arXiv 1611.04076), MONAI's."""
    return _monai("losses").PatchAdversarialLoss(criterion="least_squares", no_activation_leastsq=True)


def parameters(network: nn.Module) -> int:
    """How many numbers a network learns."""
    return sum(p.numel() for p in network.parameters())


def _body(config: BaselineConfig) -> nn.Module:
    nets, width = _monai("networks.nets"), config.width or WIDTHS[config.name]
    if config.name == "swinunetr":
        body = nets.SwinUNETR(in_channels=INPUTS, out_channels=1, feature_size=width)
        last = body.out.conv.conv
    else:
        # Without normalisation, as in EDSR (arXiv 1707.02921): an image's level is what is to be restored, and no
        # voxel's result may depend on how much air its patch holds.
        features = (width, width, 2 * width, 4 * width, 8 * width, width)
        body = nets.BasicUNet(spatial_dims=3, in_channels=INPUTS, out_channels=1, features=features, norm=None)
        body.apply(_keep_variance)
        last = body.final_conv
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return body


def _keep_variance(module: nn.Module) -> None:
    """He et al. 2015 (arXiv 1502.01852) for leaky ReLU: without normalisation, torch's own start lets signals fade."""
    if isinstance(module, nn.Conv3d):
        nn.init.kaiming_normal_(module.weight, a=0.1)
    elif isinstance(module, nn.ConvTranspose3d):  # stride 2, kernel 2: each output voxel has one input voxel
        nn.init.normal_(module.weight, std=module.in_channels**-0.5)


def _monai(module: str):
    """A module of MONAI, imported only here and only when a baseline is built."""
    try:
        import importlib

        return importlib.import_module(f"monai.{module}")
    except ImportError as error:
        raise InputError(f'the trained baselines need MONAI ({error}): pip install -e ".[baselines]"') from None
