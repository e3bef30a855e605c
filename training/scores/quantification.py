"""What a clinician reads off organs and lesions: SUVmean, SUVmax, SUVpeak, total lesion metabolism, and contrast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage, signal

from MAPDiffLib.restoration.quantify import PEAK_ML, sphere_weights
from MAPDiffLib.scan.geometry import bounding_box
from training.simulate.tissues import Tissue

TLM_SHARE = 0.41  # total lesion metabolism: within 41 % of the lesion's own maximum (EANM guideline 2015)
TLM_REACH_MM = 5.0  # how far beyond the lesion that contour may reach
SHELL_MM = (4.0, 16.0)  # a lesion's background: this far from it
SHELL_VOXELS = 30  # of the lesion's host tissue; where there are fewer, any tissue counts


@dataclass(frozen=True)
class Reading:
    """An image [z, y, x] in SUV, spacing (x, y, z) in mm, as it is read off region by region."""

    image: np.ndarray
    spacing_mm: tuple[float, float, float]

    @cached_property
    def spheres(self) -> np.ndarray:
        """The mean over a sphere of 1 mL around every voxel."""
        weights = sphere_weights(PEAK_ML, self.spacing_mm).astype(np.float32)
        return signal.oaconvolve(np.asarray(self.image, np.float32), weights, mode="same")

    def organ(self, mask: np.ndarray) -> dict[str, float]:
        """SUVmean, SUVmax and SUVpeak in a mask that is not empty."""
        return mean_and_max(self.image, mask) | {"peak": float(self.spheres[mask].max())}

    def lesion(self, mask: np.ndarray) -> dict[str, float]:
        """The same, and the total lesion metabolism in SUV x mL."""
        box = bounding_box(mask, [int(np.ceil(TLM_REACH_MM / s)) + 1 for s in reversed(self.spacing_mm)])
        values, readings = self.image[box], self.organ(mask)
        near = _distance_mm(mask[box], self.spacing_mm) <= TLM_REACH_MM
        contour = near & (values >= TLM_SHARE * readings["max"])
        return readings | {"tlm": float(values[contour].sum(dtype=float) * np.prod(self.spacing_mm) / 1000)}


def mean_and_max(image: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """SUVmean and SUVmax in a mask that is not empty."""
    inside = image[mask]
    return {"mean": float(inside.mean(dtype=float)), "max": float(inside.max())}


def bias(readings: dict[str, float], real: dict[str, float]) -> dict[str, float]:
    """Relative difference from the same region of the real scan, by name."""
    return {name: value / real[name] - 1 for name, value in readings.items()}


def contrast_to_noise(
    image: np.ndarray, mask: np.ndarray, labels: np.ndarray, host: int | None, spacing_mm: Sequence[float]
) -> float:
    """(mean in the lesion - mean of its background) / standard deviation of its background.

    The background is a shell around the lesion, of its host tissue where there is enough of it, without other lesions.
    nan where nothing lies around it.
    """
    box = bounding_box(mask, [int(np.ceil((SHELL_MM[1] + 2) / s)) for s in reversed(spacing_mm)])
    distance, tissue = _distance_mm(mask[box], spacing_mm), labels[box]
    shell = (distance >= SHELL_MM[0]) & (distance <= SHELL_MM[1])
    shell &= (tissue != Tissue.LESION) & (tissue != Tissue.AIR)
    if host is not None and (shell & (tissue == host)).sum() >= SHELL_VOXELS:
        shell &= tissue == host
    background = image[box][shell].astype(float)
    if background.size < 2 or background.std() == 0:
        return float("nan")
    return float((image[mask].mean(dtype=float) - background.mean()) / background.std())


def _distance_mm(mask: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    return ndimage.distance_transform_edt(~mask, sampling=spacing_mm[::-1])
