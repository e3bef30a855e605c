"""What a restoration has to know of a scan before it can be planned, measured once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from MAPDiffLib.restoration.intensity import body_mean
from MAPDiffLib.restoration.noise import Noise, measure_noise, relative_noise
from MAPDiffLib.scan.volume import Volume


@dataclass(frozen=True)
class ScanFacts:
    """spacing_mm (x, y, z); mean_in_body in the scan's units; relative_noise: the figure of a report, noise: what the
    network is told (noise.py), each None where it cannot be measured."""

    spacing_mm: tuple[float, float, float]
    mean_in_body: float
    body_litres: float
    relative_noise: float | None
    noise: Noise | None


def measure(scan: Volume) -> ScanFacts:
    """The facts of a scan that passes volume.check_volume. InputError when its body holds no activity."""
    voxels, body, spacing_mm = scan.voxels, scan.body, scan.spacing_mm
    return ScanFacts(
        spacing_mm,
        body_mean(voxels, body),
        float(body.sum() * np.prod(spacing_mm) / 1e6),
        relative_noise(voxels, body, spacing_mm),
        measure_noise(voxels, body, spacing_mm),
    )
