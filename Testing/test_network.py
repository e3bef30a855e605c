"""The network: shapes, the untrained identity, conditioning, and no statistics over a neighbourhood."""

import pytest
import torch

from MAPDiffLib.model.bundle import load_bundle
from MAPDiffLib.model.network import DenoisingUNet, NetworkConfig, depth_to_space, space_to_depth

NOISE = torch.tensor([[0.3, 1.5, 2.0]])  # level, axial and in-plane width in voxels
SMALL = NetworkConfig(widths=(4, 8), embedding=16)


def shaken(config=SMALL):
    """A network with no weight left at its zero start."""
    torch.manual_seed(0)
    network = DenoisingUNet(config)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network.eval()


def inputs(*shape):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(1, 1, *shape, generator=generator) for _ in range(2)]


def test_depth_to_space_undoes_space_to_depth():
    x = torch.randn(2, 3, 4, 6, 8)
    assert space_to_depth(x).shape == (2, 24, 2, 3, 4)
    assert torch.equal(depth_to_space(space_to_depth(x)), x)


def test_space_to_depth_keeps_a_block_together():
    x = torch.arange(8.0).reshape(1, 1, 2, 2, 2)
    assert space_to_depth(x).flatten().tolist() == [0, 1, 2, 3, 4, 5, 6, 7]


def test_an_untrained_network_returns_the_scan():
    x_t, scan = inputs(8, 16, 8)
    network = DenoisingUNet(SMALL)
    assert torch.allclose(network(x_t, scan, torch.tensor([0.5]), NOISE), scan)


@pytest.mark.parametrize("change", ["state", "scan", "t", "level", "axial", "in plane"])
def test_the_result_depends_on_everything_it_is_given(change):
    network = shaken()
    x_t, scan = inputs(8, 8, 8)
    t = torch.tensor([0.2])
    before = network(x_t, scan, t, NOISE)
    given = {"state": x_t + 0.1, "scan": scan + 0.1, "t": torch.tensor([0.3])}
    now = {"state": x_t, "scan": scan, "t": t, "noise": NOISE.clone()} | {k: v for k, v in given.items() if k == change}
    if change not in given:
        now["noise"][0, ["level", "axial", "in plane"].index(change)] *= 2
    assert not torch.allclose(before, network(*now.values()), atol=1e-5)


def test_far_voxels_do_not_touch_each_other():
    """No normalisation over the volume: beyond the receptive field nothing changes, to the last bit or so."""
    network = shaken()
    x_t, scan = inputs(80, 8, 8)
    other = scan.clone()
    other[:, :, 64:] += 5.0
    t = torch.tensor([0.2])
    with torch.no_grad():
        difference = (network(x_t, scan, t, NOISE) - network(x_t, other, t, NOISE)).abs()
    assert difference[:, :, :24].max() < 1e-6
    assert difference[:, :, 64:].max() > 0.1


def test_the_shipped_bundle_has_the_default_network_and_fits_the_limit():
    bundle = load_bundle("mapdiff-base")
    assert bundle.network.config == NetworkConfig()
    assert sum(file.stat().st_size for file in bundle.folder.iterdir()) < 12e6


@pytest.mark.parametrize(
    "wrong", [{"widths": ()}, {"widths": (0,)}, {"widths": (4096,)}, {"blocks": 0}, {"embedding": 6}]
)
def test_configurations_that_cannot_work_are_refused(wrong):
    with pytest.raises(ValueError, match="needed"):
        NetworkConfig(**wrong)


@pytest.mark.parametrize(("widths", "blocks"), [((4, 8), 1), ((4, 4, 4), 1), ((4, 4), 2)])
def test_what_lies_beyond_the_reach_changes_nothing_and_what_lies_within_does(widths, blocks):
    config = NetworkConfig(widths=widths, blocks=blocks, embedding=16)
    network = DenoisingUNet(config).double().eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.3
    length, core = 2 * config.reach + config.stride, slice(config.reach, config.reach + config.stride)
    scan = torch.randn(1, 1, length + 2 * config.stride, config.stride, config.stride, dtype=torch.float64)
    t = torch.full((1,), 0.5, dtype=torch.float64)

    def of_a_part(start: int) -> torch.Tensor:
        """The same core, seen with its halo from `start` on."""
        part = scan[:, :, start : 2 * config.stride + length]
        with torch.inference_mode():
            output = network(part, part, t, NOISE)
        first = config.stride + core.start - start
        return output[:, :, first : first + config.stride]

    whole, enough, short = of_a_part(0), of_a_part(config.stride), of_a_part(2 * config.stride)
    assert torch.allclose(whole, enough, rtol=1e-10)
    assert not torch.allclose(whole, short, rtol=1e-10)
