"""Whether what a reader sees in a scan is in the result, and whether its numbers hold.

The local guard, the places to check, the best estimate of a region, drawn scans. `mapdiff-train fidelity` on validation
cases is what their thresholds and factors are chosen by, on unseen ones what they are judged by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from tqdm import tqdm

from MAPDiffLib.job import GUARDS, RestoreOptions
from MAPDiffLib.model.bundle import Bundle
from MAPDiffLib.report.metrics import nmae
from MAPDiffLib.restoration.activity_guard import guard_activity
from MAPDiffLib.restoration.consistency import Consistency, places_to_check
from MAPDiffLib.restoration.dose_scans import dose_scans
from MAPDiffLib.restoration.doses import ANCHOR_DOSES, mix
from MAPDiffLib.restoration.quantify import Quantifier
from MAPDiffLib.restoration.restore import restore
from training.cases.case_file import read_dose
from training.evaluation.case import TestCase
from training.scores.contrast import LesionSite, recovered
from training.scores.hotspots import false_hot_spots

NEAR_MM = 15.0  # a place to check this near a lesion's centre is that lesion's
LOST, INTACT = 0.7, 0.9  # recovered contrast below which a lesion is lost, and from which it is not
LARGE_MM = 10.0
DRAWS = (1, 2)  # seeds: two are needed for CRPS
BANDS_PER_MM = (0.01, 0.03, 0.05, 0.07, 0.1)


def fidelity_of_case(
    folder: Path, bundle: Bundle, input_dose: float, strengths: Sequence[str | float] = GUARDS
) -> dict:
    """The figures of one case: restored once, without the local guard, from a scan of `input_dose`."""
    case, scan = TestCase(folder), read_dose(folder, input_dose)
    (plain,) = restore(scan, bundle, RestoreOptions(doses=(1.0,), input_dose=input_dose, guard="off"))
    tensors = [torch.from_numpy(array) for array in (plain.volume.voxels, scan.voxels, scan.body)]
    images = {}
    for strength in strengths:
        guarded, _ = guard_activity(*tensors, scan.spacing_mm, strength)
        images[strength] = np.where(scan.body, guarded.numpy(), scan.voxels)
    full = images.get("normal", plain.volume.voxels)
    sites = _sites(case)
    return {
        "case": case.name,
        "scanner": case.scanner,
        "lesions": _lesions(case, scan, full, images, sites),
        "guard": {str(strength): _guard(case, image) for strength, image in images.items()},
        "places": _places(scan, full, sites),
        "scans": _drawn(case, scan, full, input_dose),
    }


def _sites(case: TestCase) -> list[LesionSite]:
    every = np.any([lesion.mask for lesion in case.lesions], axis=0)
    return [
        LesionSite.of(lesion.mask, every, case.body, case.full.spacing_mm, lesion.diameter_mm)
        for lesion in case.lesions
    ]


def _guard(case: TestCase, image: np.ndarray) -> dict:
    real, truth, spacing = case.full.voxels, case.truth, case.full.spacing_mm
    more = None
    if truth is not None:
        more = false_hot_spots(image, truth, case.body, spacing) - false_hot_spots(real, truth, case.body, spacing)
    return {"nmae": nmae(image, real, case.body), "more_hot_spots": more}


def _lesions(case: TestCase, scan, full: np.ndarray, images: dict, sites: Sequence[LesionSite]) -> list[dict]:
    real, rows = case.full.voxels, []
    quantifier = Quantifier(scan.voxels, full, scan.body, scan.spacing_mm)
    for lesion, site in zip(case.lesions, sites, strict=True):
        best = quantifier.best_mean(lesion.mask)
        mean, of_scan, of_full = (site.mean_and_max(image)[0] for image in (real, scan.voxels, full))
        rows.append(
            {
                "diameter_mm": lesion.diameter_mm,
                "snr": site.signal_to_noise(scan.voxels, real),
                "recovered": {str(s): recovered(site, image, real) for s, image in images.items()},
                "errors": {"input": of_scan / mean - 1, "restored": of_full / mean - 1, "best": best.value / mean - 1},
                "held": bool(best.low <= mean <= best.high),
                "t": best.t,
            }
        )
    return rows


def _places(scan, full: np.ndarray, sites: Sequence[LesionSite]) -> list[dict]:
    """Each place beyond z = 3, with the lesion that it is at (None: none)."""
    tensors = [torch.from_numpy(array) for array in (scan.voxels, full, scan.body)]
    z = Consistency(*tensors, scan.spacing_mm).z(tensors[1]).numpy()
    plain = replace(scan, origin_mm=(0.0, 0.0, 0.0), direction=(1, 0, 0, 0, 1, 0, 0, 0, 1))
    found = places_to_check(plain, plain.with_voxels(full), plain.with_voxels(z), threshold=3.0, most=1000)
    spacing = np.array(scan.spacing_mm)
    centres = [(np.array(_centre(site)) * spacing[::-1])[::-1] for site in sites]
    rows = []
    for place in found:
        away = [np.linalg.norm(centre - place.position_mm_lps) for centre in centres]
        nearest = int(np.argmin(away)) if away and min(away) <= NEAR_MM else None
        rows.append({"z": place.z, "lesion": nearest})
    return rows


def _centre(site: LesionSite) -> list[float]:
    middle = ndimage.center_of_mass(site.mask)
    return [part.start + m for part, m in zip(site.box, middle, strict=True)]


def _drawn(case: TestCase, scan, full: np.ndarray, input_dose: float) -> dict:
    """Per dose: drawn scans beside the real one, ratios of noise and of its spectrum, lesions' maxima, CRPS."""
    tensors = [torch.from_numpy(array) for array in (scan.voxels, full, scan.body)]
    doses = [dose for dose in ANCHOR_DOSES if dose > input_dose]
    draws = [dict(dose_scans(*tensors, scan.spacing_mm, input_dose, doses, seed)) for seed in DRAWS]
    liver = case.organs.get("liver")
    liver = None if liver is None else ndimage.binary_erosion(liver, iterations=2)
    large = [lesion.mask for lesion in case.lesions if lesion.diameter_mm >= LARGE_MM]
    rows, body = {}, case.body
    for dose, real in case.real(above=input_dose * 1.01).items():
        if dose not in doses:
            continue
        one, other = (draw[dose].numpy() for draw in draws)
        mean = full if dose == 1.0 else mix(scan.voxels, full, input_dose, dose)
        apart = np.abs(one - other)[body].mean() / 2
        crps = (np.abs(one - real)[body].mean() + np.abs(other - real)[body].mean()) / 2 - apart
        rows[f"{dose:g}"] = {
            "crps_over_nmae": float(crps / np.abs(mean - real)[body].mean()),
            "max_bias": float(np.median([one[m].max() / real[m].max() - 1 for m in large])) if large else None,
            "liver_cv": _cv(one, liver) / _cv(real, liver) if liver is not None and liver.any() else None,
            "spectrum": _spectrum_ratio(one, real, liver, scan.spacing_mm) if liver is not None else None,
        }
    return rows


def _cv(image: np.ndarray, mask: np.ndarray) -> float:
    inside = image[mask]
    return float(inside.std(dtype=float) / inside.mean(dtype=float))


def _spectrum_ratio(one: np.ndarray, real: np.ndarray, mask: np.ndarray, spacing_mm: Sequence[float]) -> list[float]:
    """Power of one image over that of the other within a mask, per band of BANDS_PER_MM."""
    found = ndimage.find_objects(mask.astype(np.uint8))[0]
    powers = []
    for image in (one, real):
        inside = np.where(mask[found], image[found] - image[mask].mean(), 0)
        powers.append(np.abs(np.fft.rfftn(inside)) ** 2)
    axes = [np.fft.fftfreq(n, s) for n, s in zip(inside.shape[:2], spacing_mm[:0:-1], strict=True)]
    z, y, x = np.ix_(*axes, np.fft.rfftfreq(inside.shape[2], spacing_mm[0]))
    frequency = np.sqrt(z**2 + y**2 + x**2)
    bands = zip(BANDS_PER_MM, BANDS_PER_MM[1:], strict=False)
    return [float(np.divide(*(p[(frequency >= a) & (frequency < b)].sum() for p in powers))) for a, b in bands]


def fidelity(cases: Sequence[Path], bundle: Bundle, input_dose: float, strengths: Sequence[str | float]) -> list[dict]:
    """`fidelity_of_case` for many."""
    return [fidelity_of_case(case, bundle, input_dose, strengths) for case in tqdm(cases, desc="fidelity")]
