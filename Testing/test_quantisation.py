"""Weights in whole numbers: what a bundle keeps is what the rounding says, near the exact ones, whatever they are."""

from __future__ import annotations

import pytest
import torch

from MAPDiffLib.model.quantisation import LARGEST, STEP, pack, rounded, unpack


def weights_like(kind: str) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn((16, 8, 3, 3, 3), generator=generator)
    kinds = {"normal": normal, "one of them large": normal.index_put((torch.tensor(0),), torch.tensor(40.0))}
    kinds |= {"tiny": normal * 1e-7, "zeros": torch.zeros(4, 4), "a single one": torch.full((1, 1), -0.3)}
    return kinds[kind]


@pytest.mark.parametrize("kind", ["normal", "one of them large", "tiny", "zeros", "a single one"])
def test_what_is_unpacked_are_the_rounded_weights(kind):
    weight = weights_like(kind)
    packed = pack({"w": weight})
    assert packed["w"].dtype == torch.int8 and packed["w"].shape == weight.shape
    assert packed["w"].abs().max() <= LARGEST
    assert torch.equal(unpack(packed)["w"], rounded(weight))
    assert ((rounded(weight) - weight).abs() <= packed["w" + STEP] * 0.5001).all()


def test_the_largest_number_of_each_row_is_held_and_makes_no_other_row_coarse():
    """An error evenly between half a step down and up."""
    weight = weights_like("one of them large")
    largest = weight.abs().amax(dim=(1, 2, 3, 4))
    error = (rounded(weight) - weight).flatten(1).std(dim=1)
    assert largest[0] == 40 and torch.allclose(rounded(weight)[0], weight[0], rtol=2**-15)
    assert torch.allclose(error[1:], largest[1:] / LARGEST / 12**0.5, rtol=0.15)


def test_a_bundle_with_one_step_in_each_tensor_is_read():
    whole = torch.arange(-4, 4, dtype=torch.int8).reshape(2, 4)
    assert torch.equal(unpack({"w": whole, "w" + STEP: torch.tensor(0.5)})["w"], whole / 2)


def test_packing_again_changes_nothing():
    """A model that is trained on from a bundle starts where the bundle is, and what is not trained stays there."""
    once = pack({"w": weights_like("normal")})
    again = pack(unpack(once))
    assert all(torch.equal(again[name], tensor) for name, tensor in once.items())
    exact = weights_like("normal")
    assert not torch.equal(rounded(exact), exact)


def test_biases_stay_in_half_precision_and_floats_are_read_as_they_are():
    bias = torch.tensor([0.1, -2.0, 300.0])
    assert pack({"b": bias})["b"].dtype == torch.float16
    found = unpack({"a": bias, "b": bias.half()})
    assert torch.equal(found["a"], bias) and torch.equal(found["b"], bias.half().float())
