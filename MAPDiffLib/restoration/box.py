"""The box around the body: what the network works on, the rest of a scan being air."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from MAPDiffLib.scan.geometry import bounding_box


@dataclass(frozen=True)
class BodyBox:
    """`slices` of the volume, and the air that pads them to edges that the network can halve (z, y, x)."""

    slices: tuple[slice, slice, slice]
    padding: tuple[tuple[int, int], ...]

    @classmethod
    def around(cls, body: np.ndarray, stride: int) -> BodyBox:
        """The smallest box around `body` (bool [z, y, x], not all false), padded to multiples of `stride`."""
        return cls._of(bounding_box(body), stride)

    @classmethod
    def whole(cls, shape: tuple[int, int, int], stride: int) -> BodyBox:
        """All of an array of this shape, padded likewise."""
        return cls._of(tuple(slice(0, n) for n in shape), stride)

    @classmethod
    def _of(cls, slices: tuple[slice, slice, slice], stride: int) -> BodyBox:
        return cls(slices, tuple((0, -(part.stop - part.start) % stride) for part in slices))

    def crop(self, array: np.ndarray) -> torch.Tensor:
        """The box of a volume, padded with zeros."""
        return torch.from_numpy(np.pad(array[self.slices], self.padding))

    def pad(self, box: torch.Tensor) -> torch.Tensor:
        """An unpadded box with its padding of zeros again."""
        return torch.nn.functional.pad(box, [part for pair in reversed(self.padding) for part in pair])

    def unpad(self, array: torch.Tensor) -> torch.Tensor:
        """A padded box without its padding."""
        return array[tuple(slice(0, part.stop - part.start) for part in self.slices)]
