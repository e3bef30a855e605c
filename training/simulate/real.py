"""Multi-dose data with a real patient's anatomy: mapdiff-train real.

A real scan serves as the activity map of the simulated scanner. For evaluation only, never for training: what wins on
phantoms need not win on anatomy that no phantom has. The scan's own noise becomes part of the truth.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from MAPDiffLib.restoration.intensity import BODY_MEAN_SUV
from MAPDiffLib.scan.volume import Volume, body_mask
from training.simulate.cases import DOSES, scan_at_doses, write_case
from training.simulate.scanner import ScannerSetup

WATER_PER_MM = 0.0096  # attenuation at 511 keV; without the patient's CT all of the body counts as water


def real_case(volume: Volume, seed: int) -> tuple[dict[str, np.ndarray], dict]:
    """Every dose of a scan (square slices, [z, y, x]) seen by a random scanner: (volumes, facts for case.json)."""
    body = body_mask(volume.voxels, volume.spacing_mm)
    suv = np.where(body, np.maximum(volume.voxels, 0), 0) * (BODY_MEAN_SUV / volume.voxels[body].mean())
    rng = np.random.default_rng([seed, 2])
    setup = replace(ScannerSetup.random(rng), voxel_mm=volume.spacing_mm[0], slice_mm=volume.spacing_mm[2])
    activity = suv.astype(np.float32)
    volumes, counts = scan_at_doses(activity, (WATER_PER_MM * body).astype(np.float32), setup, DOSES, rng)
    facts = {
        "kind": "real anatomy, for evaluation only",
        "seed": seed,
        "spacing_mm": list(volume.spacing_mm),
        "doses": sorted(DOSES),
        "units": "SUV scaled to a body mean of " + str(BODY_MEAN_SUV),
        "scanner": asdict(setup),
        "full_dose_counts": counts,
    }
    return {**volumes, "truth": activity, "labels": np.zeros(body.shape, np.uint8)}, facts


def write_real_case(volume: Volume, seed: int, output: Path) -> Path:
    """Write the case of a scan and a scanner into <output>/real-<seed>; returns the folder."""
    volumes, facts = real_case(volume, seed)
    folder = output / f"real-{seed:05d}"
    write_case(folder, volumes, facts)
    return folder
