"""What a method of the table is: a function of a low-dose scan and its dose that gives the scan at higher doses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from MAPDiffLib.restoration.doses import ANCHOR_DOSES
from MAPDiffLib.scan.volume import Volume


@dataclass(frozen=True)
class Result:
    """images: {dose: float32 [z, y, x] in the scan's units}, 1.0 among them; uncertainty: one standard deviation of the
    full dose, like an image; evaluations: of a network, for all that is given; peak_gb: where the method knows it."""

    images: dict[float, np.ndarray]
    uncertainty: np.ndarray | None = None
    evaluations: int = 0
    peak_gb: float | None = None


# Methods are frozen dataclasses with this call: comparable, and small enough to be sent to another process.
Method = Callable[[Volume, float], Result]


@dataclass(frozen=True)
class Unprocessed:
    """The scan itself, standing in for every dose: what all methods start from."""

    def __call__(self, scan: Volume, dose: float) -> Result:
        return Result({d: scan.voxels for d in ANCHOR_DOSES if d > dose})
