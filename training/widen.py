"""A smaller network's weights as the start of a larger one that computes the same, and has room to learn more."""

from __future__ import annotations

import torch

from MAPDiffLib.errors import InputError
from MAPDiffLib.model.network import DenoisingUNet

FILM = ".modulate."  # layers whose outputs are all scales, then all shifts


@torch.no_grad()
def grown(smaller: dict[str, torch.Tensor], network: DenoisingUNet) -> dict[str, torch.Tensor]:
    """The state of `network`, freshly initialised, with `smaller` in its first channels, blocks and levels.

    No new channel feeds an old one, and new blocks start as the identity, so that the larger network returns what the
    smaller one did; training then opens the way (the idea: arXiv 1511.05641). InputError where `smaller` does not fit
    inside `network`.
    """
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    for name, old in smaller.items():
        new = state.get(name)
        if new is None or new.dim() != old.dim() or any(a < b for a, b in zip(new.shape, old.shape, strict=True)):
            has = "no such tensor" if new is None else f"shape {list(new.shape)}"
            raise InputError(
                f"start from: {name} has shape {list(old.shape)}, the network to train has {has}; it may only be larger"
            )
        _place(old, new, name)
    for name in state.keys() - smaller.keys():
        if name.startswith("up."):  # what a new, coarser level would add
            state[name].zero_()
    return state


def _place(old: torch.Tensor, new: torch.Tensor, name: str) -> None:
    """Writes the rows of `new` that belong to the channels of `old`: these, and zeros for what the new ones bring."""
    outputs, inputs = (1, 0) if name.startswith("up.") and old.dim() > 1 else (0, 1)  # transposed convolutions
    parts = 2 if FILM in name else 1
    size, step = old.shape[outputs] // parts, new.shape[outputs] // parts
    rows = torch.cat([part * step + torch.arange(size) for part in range(parts)])
    if old.dim() == 1:
        new[rows] = old
        return
    block = torch.zeros_like(new.index_select(outputs, rows))
    block.narrow(inputs, 0, old.shape[inputs]).copy_(old)
    new.index_copy_(outputs, rows, block)
