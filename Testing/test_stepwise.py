"""What a watched call says of its progress, and how it is stopped."""

import itertools

import pytest
import torch
from torch import nn

from MAPDiffLib.errors import Cancelled
from MAPDiffLib.model.network import DenoisingUNet, NetworkConfig
from MAPDiffLib.restoration.progress_hooks import Stepwise


def test_shares_are_multiply_adds_worked_out_by_hand():
    """On 8^3 voxels: 27 x 512, then 2 x 8 x 64 down to 4^3, then 2 x 8 x 64 up again, and 27 x 512."""
    network = nn.Sequential(
        nn.Conv3d(1, 1, 3, padding=1),
        nn.Conv3d(1, 2, 2, stride=2),
        nn.ConvTranspose3d(2, 1, 2, stride=2),
        nn.Conv3d(1, 1, 3, padding=1),
    )
    watched, shares = Stepwise(network), []
    x = torch.randn(1, 1, 8, 8, 8)
    first = watched(x, on_share=shares.append)
    assert shares == []  # how much there is to do is known after the first call
    assert torch.equal(watched(x, on_share=shares.append), first)
    total = 2 * 27 * 512 + 2 * 2 * 8 * 64
    assert shares == pytest.approx([27 * 512 / total, (27 * 512 + 1024) / total, (27 * 512 + 2048) / total, 1.0])


def test_shares_of_another_tile_end_at_one_too():
    watched, shares = Stepwise(DenoisingUNet(NetworkConfig(widths=(4, 8), embedding=16))), []
    t = torch.tensor([0.5])
    for edge in (16, 24):
        x = torch.randn(1, 1, edge, 16, 8)
        watched(x, x, t, t, on_share=shares.append)
    assert shares == sorted(shares) and shares[-1] == pytest.approx(1)


def test_a_cancel_comes_between_two_convolutions_and_the_next_call_is_whole():
    network = DenoisingUNet(NetworkConfig(widths=(4, 8), embedding=16))
    watched, t, x = Stepwise(network), torch.tensor([0.5]), torch.randn(1, 1, 8, 8, 8)
    asked = itertools.count()
    with pytest.raises(Cancelled):
        watched(x, x, t, t, cancelled=lambda: next(asked) == 3)
    assert next(asked) == 4
    assert torch.equal(watched(x, x, t, t), network(x, x, t, t))
