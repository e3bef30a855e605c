"""The methods of the table: each a function (low-dose Volume, its dose) -> {dose: voxels}, all on the same footing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage

from MAPDiffLib.bundle import Bundle
from MAPDiffLib.doses import ANCHOR_DOSES, mix
from MAPDiffLib.restore import RestoreOptions, restore
from MAPDiffLib.volume import Volume

Method = Callable[[Volume, float], dict[float, np.ndarray]]
GAUSSIAN_WIDTHS_MM = (3.0, 4.0, 5.0, 6.0, 8.0)


def unprocessed(volume: Volume, dose: float) -> dict[float, np.ndarray]:
    """The input itself, standing in for every dose."""
    return {d: volume.voxels for d in ANCHOR_DOSES if d > dose}


def gaussian(width_mm: float) -> Method:
    """A Gaussian filter of this FWHM, and the closed-form mixes with it."""

    def method(volume: Volume, dose: float) -> dict[float, np.ndarray]:
        sigma = [width_mm / 2.3548 / spacing for spacing in reversed(volume.spacing_mm)]
        return with_mixes(volume, dose, ndimage.gaussian_filter(volume.voxels, sigma))

    return method


def bundled(bundle: Bundle, **options) -> Method:
    """A bundle as a user runs it, at every anchor dose (a bundle with a single anchor mixes towards it)."""

    def method(volume: Volume, dose: float) -> dict[float, np.ndarray]:
        doses = tuple(d for d in ANCHOR_DOSES if d > dose)
        steps = restore(volume, bundle, RestoreOptions(doses=doses, input_dose=dose, **options))
        return {restored.dose: restored.volume.voxels for restored in steps}

    return method


def with_mixes(volume: Volume, dose: float, full: np.ndarray) -> dict[float, np.ndarray]:
    """A full-dose image and the closed-form mix for every dose before it."""
    return {d: mix(volume.voxels, full, dose, d) for d in ANCHOR_DOSES if d > dose}
