"""Physical units <-> network units, in one place.

The network sees log1p(SUV-like activity), standardised. SUV-like means: divided by the mean activity in the body of the
very scan that is restored (unbiased at every dose) and multiplied by the body mean SUV of the training data. A scan in
Bq/mL, SUV or counts therefore gives the same restoration up to its own scale, and no SUV factor has to be known.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from MAPDiffLib.errors import InputError

# Mean and deviation of log1p(SUV) in the body of whole-body FDG scans; only a conditioning of the network's numbers.
LOG_MEAN, LOG_DEVIATION = 0.5, 0.4
BODY_MEAN_SUV = 0.85  # of real whole-body FDG scans


@dataclass(frozen=True)
class Intensity:
    """The map of one scan: `scale` is the activity (in the scan's units) that counts as SUV 1.

    For a batch of patches, `scale` is a tensor that broadcasts over them.
    """

    scale: float | torch.Tensor

    @classmethod
    def of_scan(cls, voxels: np.ndarray, body: np.ndarray, body_mean_suv: float = BODY_MEAN_SUV) -> Intensity:
        """Scale from the mean over `body` (bool, same shape). InputError when that mean is not positive."""
        return cls(scale=body_mean(voxels, body) / body_mean_suv)

    def to_network(self, voxels: torch.Tensor) -> torch.Tensor:
        """Activity -> network units, any shape. Odd around zero, so that negative voxels survive."""
        suv = voxels / self.scale
        return suv.abs().log1p_().copysign_(suv).sub_(LOG_MEAN).div_(LOG_DEVIATION)

    def to_physical(self, values: torch.Tensor) -> torch.Tensor:
        """Network units -> activity in the scan's units; the exact inverse of `to_network`."""
        logarithm = values * LOG_DEVIATION + LOG_MEAN
        return logarithm.abs().expm1_().copysign_(logarithm).mul_(self.scale)


def body_mean(voxels: np.ndarray, body: np.ndarray) -> float:
    """The mean activity over `body` (bool, same shape), in the scan's units. InputError when it is not positive."""
    mean = float(voxels[body].mean(dtype=np.float64)) if body.any() else 0.0
    if not mean > 0:
        raise InputError(f"mean activity in the body is {mean:g}; a PET scan with positive activity is needed")
    return mean
