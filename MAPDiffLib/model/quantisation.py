"""A network's weights as a bundle keeps them: matrices and kernels in one byte a number, the rest in half precision.

A quarter of the size of float32, which a user downloads and a repository keeps for every model. Each row (of a
tensor's first axis) has a step of its own, so that one large number makes no others coarse.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

STEP = ".step"  # follows a tensor's name: what one stands for in the whole numbers of each row
LARGEST = 127
DIGITS = 16  # binary, of a step: few enough for LARGEST of them to be exact


def is_rounded(tensor: torch.Tensor) -> bool:
    """Whether a bundle keeps this tensor in whole numbers: biases are too few to be worth it."""
    return tensor.ndim >= 2


def rounded(weight: torch.Tensor) -> torch.Tensor:
    """The nearest values that a bundle can hold: float32, any shape."""
    whole, step = _whole_numbers(weight)
    return whole * step


def pack(state_dict: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Network state -> tensors of a weights file: NAME int8 with NAME.step float32 [rows, 1, ...], or NAME float16."""
    packed = {}
    for name, tensor in state_dict.items():
        if is_rounded(tensor):
            whole, packed[name + STEP] = _whole_numbers(tensor)
            packed[name] = whole.to(torch.int8)
        else:
            packed[name] = tensor.half()
    return packed


def unpack(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The network state of a weights file's tensors, float32; those in floating point are taken as they are."""
    return {
        name: tensor * tensors[name + STEP].float() if tensor.dtype == torch.int8 else tensor.float()
        for name, tensor in tensors.items()
        if not name.endswith(STEP)
    }


def _whole_numbers(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(weight in steps, rounded; the step of each row: LARGEST of them hold its largest number, and above zero).

    A step has few digits, so that the largest number gives the same step again: rounding twice changes no bit.
    """
    weight = weight.detach().float()
    largest = weight.abs().amax(dim=tuple(range(1, weight.ndim)), keepdim=True)
    digits, exponent = torch.frexp((largest / LARGEST).clamp(min=1e-30))
    step = torch.ldexp(torch.ceil(digits * 2**DIGITS), exponent - DIGITS)
    return (weight / step).round(), step
