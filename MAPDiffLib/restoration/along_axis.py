"""An image times a matrix along one of its axes: filters and interpolations that are one, on any device."""

from __future__ import annotations

import numpy as np
import torch


def along(image: torch.Tensor, axis: int, matrix: np.ndarray | torch.Tensor) -> torch.Tensor:
    """An axis of an image times a matrix [new length, length]: faster on a CPU than a convolution of one channel."""
    return torch.tensordot(torch.as_tensor(matrix).to(image), image, dims=([1], [axis])).movedim(0, axis)
