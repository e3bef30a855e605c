"""Multi-dose data with a real patient's anatomy: mapdiff-train real.

A real scan serves as the activity map of the simulated scanner, with lesions put into it where that is asked for. For
evaluation only, never for training: what wins on phantoms need not win on anatomy that no phantom has. The scan's own
noise becomes part of the truth.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from MAPDiffLib.restoration.intensity import BODY_MEAN_SUV
from MAPDiffLib.scan.volume import Volume, body_mask
from training.simulate.cases import DOSES, scan_at_doses, write_case
from training.simulate.lesions import LesionPlan, draw_diameter_mm, draw_kind, draw_shape, draw_suv, placed
from training.simulate.phantom import Lesion
from training.simulate.scanner import ScannerSetup
from training.simulate.tissues import Tissue

WATER_PER_MM = 0.0096  # attenuation at 511 keV; without the patient's CT all of the body counts as water

FINER = 3  # times as many voxels along each axis, on which a lesion is drawn before it is averaged down
HOST_SUV = (0.2, 4.0)  # where lesions are put: neither in air passages nor in brain, bladder or heart


def real_case(
    volume: Volume,
    seed: int,
    lesions: LesionPlan = LesionPlan((0, 0)),  # noqa: B008  (frozen)
) -> tuple[dict[str, np.ndarray], dict]:
    """Every dose of a scan (square slices, [z, y, x]) seen by a random scanner: (volumes, facts for case.json)."""
    body = body_mask(volume.voxels, volume.spacing_mm)
    suv = np.where(body, np.maximum(volume.voxels, 0), 0) * (BODY_MEAN_SUV / volume.voxels[body].mean())
    rng = np.random.default_rng([seed, 2])
    setup = replace(ScannerSetup.random(rng), voxel_mm=volume.spacing_mm[0], slice_mm=volume.spacing_mm[2])
    activity = suv.astype(np.float32)
    labels, put = insert_lesions(activity, volume.spacing_mm, lesions, np.random.default_rng([seed, 3]))
    volumes, counts = scan_at_doses(activity, (WATER_PER_MM * body).astype(np.float32), setup, DOSES, rng)
    facts = {
        "kind": "real anatomy, for evaluation only",
        "seed": seed,
        "spacing_mm": list(volume.spacing_mm),
        "doses": sorted(DOSES),
        "units": "SUV scaled to a body mean of " + str(BODY_MEAN_SUV),
        "scanner": asdict(setup),
        "lesions": [asdict(lesion) for lesion in put],
        "full_dose_counts": counts,
    }
    return {**volumes, "truth": activity, "labels": labels}, facts


def insert_lesions(
    activity: np.ndarray, spacing_mm: tuple[float, float, float], plan: LesionPlan, rng: np.random.Generator
) -> tuple[np.ndarray, list[Lesion]]:
    """Put lesions into an activity map (SUV, [z, y, x], changed in place); returns labels and what was put in.

    Each takes the place of what was there, by the part of a voxel that it fills. None touches another.
    """
    labels, lesions = np.zeros(activity.shape, np.uint8), []
    host = ndimage.uniform_filter(activity, 5)
    places = np.argwhere((host > HOST_SUV[0]) & (host < HOST_SUV[1]))
    fine_mm = tuple(s / FINER for s in spacing_mm)
    wanted = int(rng.integers(plan.number[0], plan.number[1] + 1))
    for _ in range(20 * wanted):
        if len(lesions) == wanted:
            break
        centre = places[rng.integers(len(places))]
        kind = draw_kind(rng, plan.tumours)
        diameter, suv = draw_diameter_mm(rng, kind), draw_suv(rng, float(host[tuple(centre)]))
        shape = draw_shape(rng, kind, diameter, fine_mm, plan.tumours)
        middle = centre * FINER + FINER // 2
        fine, uptake = placed(shape, middle, [n * FINER for n in activity.shape])
        box, part, uptake = _averaged_down(fine, uptake)
        around = tuple(slice(max(0, s.start - 2), s.stop + 2) for s in box)
        if labels[around].any() or (activity[box][part > 0.5] < 0.5 * HOST_SUV[0]).any():
            continue
        activity[box] = activity[box] * (1 - part) + suv * uptake
        labels[box][part >= min(0.5, part.max())] = Tissue.LESION
        lesions.append(Lesion(tuple(int(c) for c in centre), diameter, suv, "real anatomy"))
    return labels, lesions


def _averaged_down(fine: tuple[slice, ...], uptake: np.ndarray) -> tuple[tuple[slice, ...], np.ndarray, np.ndarray]:
    """(box of whole voxels around a fine box, part of each voxel that is filled, uptake averaged over it)."""
    box = tuple(slice(s.start // FINER, -(-s.stop // FINER)) for s in fine)
    wide = np.zeros([(s.stop - s.start) * FINER for s in box], np.float32)
    starts = (s.start * FINER for s in box)
    wide[tuple(slice(f.start - first, f.stop - first) for f, first in zip(fine, starts, strict=True))] = uptake
    blocks = wide.reshape([n for s in box for n in (s.stop - s.start, FINER)])
    return box, (blocks > 0).mean(axis=(1, 3, 5), dtype=np.float32), blocks.mean(axis=(1, 3, 5))


def write_real_case(
    volume: Volume,
    seed: int,
    output: Path,
    lesions: LesionPlan = LesionPlan((0, 0)),  # noqa: B008  (frozen)
) -> Path:
    """Write the case of a scan and a scanner into <output>/real-<seed>; returns the folder."""
    volumes, facts = real_case(volume, seed, lesions)
    folder = output / f"real-{seed:05d}"
    write_case(folder, volumes, facts)
    return folder
