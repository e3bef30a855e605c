"""A network grown from a smaller one: the same function at first, and every part of it able to learn."""

import pytest
import torch

from MAPDiffLib.errors import InputError
from MAPDiffLib.model.network import DenoisingUNet, NetworkConfig
from training.widen import grown

SMALL = NetworkConfig(widths=(4, 8), embedding=16)


def random_network(config):
    """No weight at its initial zero, so that every one matters."""
    network = DenoisingUNet(config)
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        parameter.data = 0.2 * torch.randn(parameter.shape, generator=generator)
    return network


def inputs():
    generator = torch.Generator().manual_seed(1)
    x_t, scan = (torch.randn(2, 1, 8, 8, 16, generator=generator) for _ in range(2))
    return x_t, scan, torch.tensor([0.2, 0.9]), torch.tensor([[0.3, 1.5, 2.0], [0.1, 1.2, 3.0]])


@pytest.mark.parametrize(
    "larger", [{"widths": (4, 8)}, {"widths": (6, 8)}, {"widths": (4, 12)}, {"widths": (4, 8, 8)}, {"blocks": 2}]
)
def test_the_larger_network_first_computes_what_the_smaller_one_did(larger):
    small = random_network(SMALL)
    config = NetworkConfig(**{"widths": (4, 8), "embedding": 16, **larger})
    large = DenoisingUNet(config)
    large.load_state_dict(grown(small.state_dict(), large))
    with torch.no_grad():
        assert torch.allclose(large(*inputs()), small(*inputs()), atol=1e-5)


def test_training_reaches_the_new_channels():
    small, large = random_network(SMALL), DenoisingUNet(NetworkConfig(widths=(6, 12), embedding=16))
    large.load_state_dict(grown(small.state_dict(), large))
    optimizer = torch.optim.Adam(large.parameters(), lr=1e-3)
    for _ in range(2):  # the first step opens the way from the new channels to the old
        optimizer.zero_grad()
        large(*inputs()).square().mean().backward()
        optimizer.step()
    new_rows = large.encoder[1][0].first.weight.grad[8:]
    assert (new_rows.abs().amax(dim=(1, 2, 3, 4)) > 0).all()


@pytest.mark.parametrize("wrong", [{"widths": (2, 8)}, {"widths": (4,)}, {"widths": (4, 8, 8), "embedding": 8}])
def test_what_does_not_fit_inside_is_refused_by_name(wrong):
    large = DenoisingUNet(NetworkConfig(**{"embedding": 16, **wrong}))
    with pytest.raises(InputError, match="has shape .* may only be larger"):
        grown(random_network(SMALL).state_dict(), large)
