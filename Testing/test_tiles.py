"""Tiling with the identity returns its input; the network's result does not depend on the tile."""

import itertools

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from MAPDiffLib.errors import Cancelled, InputError
from MAPDiffLib.model.network import DenoisingUNet, NetworkConfig
from MAPDiffLib.restoration.device import Compute
from MAPDiffLib.restoration.tiles import SMALLEST_EDGE, TiledNetwork, fitting_edges, tile_volume

NOISE = (0.3, 1.5, 2.0)
CPU = Compute(torch.device("cpu"), torch.float32)


class Identity(torch.nn.Module):
    """Returns its state: any seam, shift or gap shows as a difference."""

    config = NetworkConfig()

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, x_t, scan, t, noise):
        return x_t * self.weight


def test_tiles_of_a_small_case_are_the_ones_worked_out_by_hand():
    tiles = tile_volume((10, 4, 4), (4, 4, 4), halo=2)
    assert [(t.core[0].start, t.core[0].stop) for t in tiles] == [(0, 4), (4, 8), (8, 10)]
    assert [(t.context[0].start, t.context[0].stop) for t in tiles] == [(0, 6), (2, 10), (6, 10)]
    assert [(t.inner[0].start, t.inner[0].stop) for t in tiles] == [(0, 4), (2, 6), (2, 4)]
    assert tiles[0].voxels == 6 * 4 * 4


@pytest.mark.parametrize("shape", [(24, 16, 32), (32, 32, 32), (40, 56, 72)])
@pytest.mark.parametrize("tile", [8, 32, None])
def test_the_identity_through_tiles_returns_its_input_for_sizes_below_at_and_not_a_multiple_of_the_tile(shape, tile):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    network = TiledNetwork(Identity(), torch.ones(shape, dtype=torch.bool), CPU, tile=tile)
    assert torch.equal(network(x, x, 0.5, NOISE), x)


def test_cores_cover_every_voxel_exactly_once():
    seen = np.zeros((33, 20, 47), int)
    for tile in tile_volume(seen.shape, (16, 24, 8), halo=8):
        seen[tile.core] += 1
    assert (seen == 1).all()


def test_tiles_without_body_are_skipped_and_progress_still_ends_at_one():
    body = torch.zeros((16, 16, 64), dtype=torch.bool)
    body[:, :, 40:] = True
    shares = []
    network = TiledNetwork(Identity(), body, CPU, tile=16)
    result = network(torch.ones(body.shape), torch.ones(body.shape), 0.5, NOISE, on_share=shares.append)
    assert shares == pytest.approx([0.5, 1.0])
    assert result[:, :, :32].eq(0).all() and result[:, :, 32:].eq(1).all()


def test_a_mirrored_volume_skips_the_mirrored_air():
    body = torch.zeros((16, 16, 64), dtype=torch.bool)
    body[:, :, :16] = True
    network = TiledNetwork(Identity(), body, CPU, tile=16)
    result = network(torch.ones(body.shape), torch.ones(body.shape), 0.5, NOISE, mirrored=(2,))
    assert result[:, :, 48:].eq(1).all() and result[:, :, :48].eq(0).all()


def test_cancel_is_noticed_between_two_tiles():
    calls = itertools.count()
    network = TiledNetwork(Identity(), torch.ones((16, 16, 64), dtype=torch.bool), CPU, tile=16)
    x = torch.ones(16, 16, 64)
    with pytest.raises(Cancelled):
        network(x, x, 0.5, NOISE, cancelled=lambda: next(calls) == 2)
    assert next(calls) == 3


def test_cancel_is_noticed_between_two_convolutions_and_the_next_call_is_whole():
    network = DenoisingUNet(NetworkConfig(widths=(4, 8), embedding=16))
    tiled = TiledNetwork(network, torch.ones((8, 8, 8), dtype=torch.bool), CPU)
    asked, x = itertools.count(), torch.randn(8, 8, 8)
    with pytest.raises(Cancelled):
        tiled(x, x, 0.5, NOISE, cancelled=lambda: next(asked) == 3)
    assert next(asked) == 4  # before the tile and after three of its convolutions
    assert torch.allclose(tiled(x, x, 0.5, NOISE), x, atol=1e-6)  # an untrained network returns its scan


def test_automatic_tiles_stay_under_the_budget_and_compute_as_little_as_that_allows():
    assert fitting_edges((128, 64, 96), 8, voxels=1_000_000, halo=48) == (128, 64, 96)
    edges = fitting_edges((600, 200, 400), 8, voxels=2_000_000, halo=32)
    tiles = tile_volume((600, 200, 400), edges, halo=32)
    assert max(tile.voxels for tile in tiles) <= 2_000_000
    assert all(edge % 8 == 0 for edge in edges)
    computed = {}
    for edge in range(104, 601, 8):  # every way to cut the longest axis alone that fits into 20 million voxels
        tiles = tile_volume((600, 168, 288), (edge, 168, 288), halo=48)
        if max(tile.voxels for tile in tiles) <= 20_000_000:
            computed[edge] = sum(tile.voxels for tile in tiles)
    edges = fitting_edges((600, 168, 288), 8, voxels=20_000_000, halo=48)
    assert sum(tile.voxels for tile in tile_volume((600, 168, 288), edges, halo=48)) == min(computed.values())
    assert fitting_edges((600, 200, 400), 8, voxels=1000, halo=48) == (40, 40, 40)  # nothing fits: the smallest


def test_an_odd_volume_or_a_tile_below_the_stride_is_refused():
    with pytest.raises(InputError, match="multiples of 8"):
        TiledNetwork(Identity(), torch.ones((15, 16, 16), dtype=torch.bool), CPU)
    with pytest.raises(InputError, match="at least 8"):
        TiledNetwork(Identity(), torch.ones((16, 16, 16), dtype=torch.bool), CPU, tile=4)


def test_the_callers_network_keeps_its_precision():
    network = DenoisingUNet(NetworkConfig(widths=(4, 8), embedding=16))
    TiledNetwork(network, torch.ones((8, 8, 8), dtype=torch.bool), Compute(torch.device("cpu"), torch.bfloat16))
    assert {p.dtype for p in network.parameters()} == {torch.float32}


def test_out_of_gpu_memory_goes_on_with_smaller_tiles_then_on_the_cpu():
    """The logic without a GPU: the first evaluations raise what CUDA raises."""
    warnings = []
    network = TiledNetwork(Identity(), torch.ones((128, 16, 16), dtype=torch.bool), CPU, warn=warnings.append)
    network.device = torch.device("meta")  # stands for a GPU whose every allocation fails
    failures = itertools.count()
    real = network._evaluate

    def evaluate(*arguments):
        if network.device.type != "cpu":
            next(failures)
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(*arguments)

    network._evaluate = evaluate
    x = torch.randn(128, 16, 16)
    assert torch.equal(network(x, x, 0.5, NOISE), x)
    assert "smaller tiles" in warnings[0] and "on the CPU" in warnings[-1]
    assert next(failures) == len(warnings)


class LittleMemory(TorchDispatchMode):
    """No new tensor may have more bytes than `limit`: past it, torch's own allocator is asked for what it cannot give.

    A limit on the whole process would be met just as well by code inside torch that does not survive it.
    """

    def __init__(self, limit: int):
        super().__init__()
        self.limit = limit

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        output = function(*arguments, **(named or {}))
        if isinstance(output, torch.Tensor) and output.numel() * output.element_size() > self.limit:
            given = (value.untyped_storage().data_ptr() for value in arguments if isinstance(value, torch.Tensor))
            if output.untyped_storage().data_ptr() not in given:  # else a view
                torch.empty(1 << 62, dtype=torch.uint8)
        return output


def long_network(said):
    """A network and a long volume, given to it whole: (tiled network, state)."""
    network = DenoisingUNet(NetworkConfig(widths=(4, 8), embedding=16))
    x = torch.randn((512, 32, 32), generator=torch.Generator().manual_seed(0))
    tiled = TiledNetwork(network, torch.ones(x.shape, dtype=torch.bool), CPU, warn=said.append)
    assert tiled.edges == tuple(x.shape)
    return tiled, x


def test_where_memory_is_little_tiles_shrink_and_the_result_is_the_same():
    said = []
    tiled, x = long_network(said)
    with LittleMemory(4 * x.numel()):  # a volume fits, what the network makes of a whole one does not
        result = tiled(x, x, 0.5, NOISE)
    assert torch.allclose(result, x, atol=1e-5)  # an untrained network returns its scan
    assert tiled.edges[0] < 512 and said and all("smaller tiles" in message for message in said)


def test_where_memory_is_too_little_for_the_smallest_tile_the_error_says_what_to_do():
    said = []
    tiled, x = long_network(said)
    with LittleMemory(100_000), pytest.raises(MemoryError, match="even for small tiles: close other programs"):
        tiled(x, x, 0.5, NOISE)
    assert max(tiled.edges) <= 2 * SMALLEST_EDGE
