"""Where scan and restored image disagree by more than the scan's noise explains.

z: the logarithm of the ratio of their Gaussian means, in units of its local deviation. In the logarithm the noise's
tails are nearly Gaussian, in activity they are ten times heavier. z > 0: the scan holds more than the restored image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from MAPDiffLib.restoration.local_noise import gaussian_mean, noise_deviation

WIDTH_MM = 12.0  # FWHM of the means: about a lesion that a reader must not lose
FLOOR = 0.05  # of the body's mean: added to both means, so that cold places do not divide by nothing


@dataclass(frozen=True)
class Consistency:
    """A scan against what is restored from it; images float32 [z, y, x] in the scan's units, body bool, on one device.

    The noise is that of the image given here: the same measure then serves for images made from it.
    """

    scan: torch.Tensor
    restored: torch.Tensor
    body: torch.Tensor
    spacing_mm: Sequence[float]

    def z(self, image: torch.Tensor) -> torch.Tensor:
        """z of the scan against `image`, zero outside the body."""
        ratio = self._own_ratio if image is self.restored else self._log_ratio(self._mean(image))
        return (ratio / self.deviation).mul_(self.body)

    def _log_ratio(self, mean: torch.Tensor) -> torch.Tensor:
        """By the root of how much of each mean lies in the body: fewer voxels are noisier."""
        return (self._scan_mean / mean).log_().mul_(self._weight.sqrt())

    def _mean(self, image: torch.Tensor) -> torch.Tensor:
        means = gaussian_mean(image * self.body, WIDTH_MM, self.spacing_mm).div_(self._weight)
        return means.clamp_(min=0).add_(FLOOR * self.level)

    @cached_property
    def level(self) -> float:
        """The scan's mean in the body."""
        return float((self.scan * self.body).sum(dtype=torch.float64) / self.body.sum())

    @cached_property
    def _weight(self) -> torch.Tensor:
        return gaussian_mean(self.body.to(self.scan.dtype), WIDTH_MM, self.spacing_mm).clamp_(min=0.05)

    @cached_property
    def _scan_mean(self) -> torch.Tensor:
        return self._mean(self.scan)

    @cached_property
    def restored_mean(self) -> torch.Tensor:
        """The means that the scan's are compared with."""
        return self._mean(self.restored)

    @cached_property
    def _own_ratio(self) -> torch.Tensor:
        return self._log_ratio(self.restored_mean)

    @cached_property
    def deviation(self) -> torch.Tensor:
        """Of the log-ratio with the restored image given here."""
        return noise_deviation(self._own_ratio, self.restored_mean / self.level, self.body, self.spacing_mm)
