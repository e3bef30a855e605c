"""What validation cases decide after training: the strength, and how wide the uncertainty has to be.

Both are told nothing of a dose: the cases are taken at several doses, of several scanners, and what is fitted goes by
the noise measured on each scan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from MAPDiffLib.job import RestoreOptions
from MAPDiffLib.model.bundle import Bundle
from MAPDiffLib.model.manifest import Sampling
from MAPDiffLib.restoration.restore import restore
from training.cases.case_file import read_dose
from training.scores.image import image_scores

STRENGTHS = (0.7, 0.85, 1.0, 1.2, 1.5, 2.0)
STRENGTH_DOSE = 0.05
ALLOWED = 1.005  # times the least error: smoothing takes small lesions too, so the lowest strength so good is the best
DOSES = (0.01, 0.05, 0.25)  # on which the uncertainty is fitted, of those that a case has
COVERAGE = 0.90  # of the body's voxels that the 90 % interval has to hold
KNOTS = 4  # levels of noise at which the uncertainty has a scale of its own
VOXELS = 20_000  # drawn per scan, so that every one counts as much


@dataclass(frozen=True)
class Scattered:
    """One restored scan: its level of noise, and of random body voxels |restored full dose - real full dose| in
    standard deviations of the samples."""

    level: float
    errors: np.ndarray


def fit_sampling(bundle: Bundle, validation: Sequence[Path]) -> Sampling:
    """That of `bundle` with its strength and its uncertainty fitted."""
    strength = fit_strength(bundle, validation)
    scans = [(case, dose) for case in validation for dose in DOSES]
    spread = [scattered(bundle, case, dose, strength) for case, dose in tqdm(scans, desc="uncertainty", unit="scan")]
    levels, scales = fit_uncertainty(spread)
    sampling = bundle.manifest.sampling
    return replace(sampling, strength=strength, uncertainty_levels=levels, uncertainty_scales=scales)


def fit_strength(bundle: Bundle, validation: Sequence[Path]) -> float:
    """The lowest of STRENGTHS whose mean error (NMAE of full dose, of STRENGTH_DOSE, one sample) is about the least."""
    errors = {}
    for strength in tqdm(STRENGTHS, desc="strength"):
        options = RestoreOptions(doses=(1.0,), input_dose=STRENGTH_DOSE, samples=1, strength=strength)
        found = [_full_dose_error(bundle, case, options) for case in validation]
        errors[strength] = float(np.exp(np.mean(np.log(found))))  # a noisy case counts no more than a quiet one
    return min(strength for strength, error in errors.items() if error <= ALLOWED * min(errors.values()))


def scattered(bundle: Bundle, case: Path, dose: float, strength: float) -> Scattered:
    """What a restoration of a case's dose is wrong by, in units of its own samples' spread."""
    scan, full = read_dose(case, dose), read_dose(case, 1.0)
    restoration = restore(scan, bundle, RestoreOptions(doses=(1.0,), input_dose=dose, strength=strength))
    (restored,) = (each.volume for each in restoration)
    report = restoration.report
    body = np.flatnonzero(scan.body)
    voxels = np.random.default_rng(0).choice(body, min(VOXELS, len(body)), replace=False)
    error = np.abs(restored.voxels - full.voxels).ravel()[voxels]
    spread = restoration.uncertainty.voxels.ravel()[voxels] / report["uncertainty_scale"]
    return Scattered(report["noise"]["level"], error / np.maximum(spread, 1e-6))


def fit_uncertainty(scans: Sequence[Scattered]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(levels, scales): at each of at most KNOTS levels what makes the 90 % interval hold COVERAGE of the voxels of the
    scans nearest in level."""
    ordered = sorted(scans, key=lambda scan: scan.level)
    groups = [group for group in np.array_split(np.arange(len(ordered)), KNOTS) if len(group)]
    levels, scales = [], []
    for group in groups:
        level = float(np.exp(np.mean([np.log(ordered[k].level) for k in group])))
        held = np.quantile(np.concatenate([ordered[k].errors for k in group]), COVERAGE)
        if not levels or level > levels[-1]:
            levels.append(round(level, 5))
            scales.append(round(float(held) / 1.645, 4))
    return tuple(levels), tuple(scales)


def _full_dose_error(bundle: Bundle, case: Path, options: RestoreOptions) -> float:
    (restored,) = (each.volume for each in restore(read_dose(case, options.input_dose), bundle, options))
    full = read_dose(case, 1.0)
    return image_scores(restored.voxels, full.voxels, full.body)["nmae"]
