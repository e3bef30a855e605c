"""What cases of scanners unlike those of training say: how far to mistrust wide noise, and how wide the uncertainty
has to be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from MAPDiffLib.job import RestoreOptions
from MAPDiffLib.model.bundle import Bundle
from MAPDiffLib.model.manifest import Fit, WideNoise
from MAPDiffLib.restoration.restore import restore
from training.cases.case_file import read_dose
from training.export.posthoc_fit import VOXELS
from training.export.variants import with_fit, without_path
from training.scores.image import image_scores

ALLOWED = 1.005
HELD = (0.86, 0.95)  # of these cases' body voxels, by the 90 % interval: 85 to 95 % are wanted on any scanner
POWERS = (0.0, 0.4, 0.8, 1.2, 1.6)  # of how much wider noise is than in training: what divides the dose told


def mistrusting(
    bundle: Bundle, input_dose: float, noise_voxels: tuple[float, float], wide: WideNoise, cases: Sequence[Path]
) -> WideNoise:
    """`wide` with the lowest power whose error of these cases' full dose (NMAE; the first evaluation alone, once) is
    within ALLOWED of the least: mistrust smooths small lesions too."""
    powers = [replace(wide, power=power) for power in POWERS]
    first = bundle.manifest.timesteps[0]
    fits = [Fit(input_dose, 1, {first: 1.0}, 1.0, noise_voxels, each) for each in powers]
    errors = [_full_dose_error(with_fit(without_path(bundle), fit), cases) for fit in fits]
    return next(each for each, error in zip(powers, errors, strict=True) if error <= ALLOWED * min(errors))


def errors_over_uncertainty(bundle: Bundle, fit: Fit, case: Path) -> np.ndarray:
    """Of VOXELS random voxels of the body, so that every case counts as much: the error of the full dose that `fit`
    restores, in units of its uncertainty."""
    scan, full = read_dose(case, fit.input_dose), read_dose(case, 1.0).voxels
    restoration = restore(scan, with_fit(bundle, fit), RestoreOptions(doses=(1.0,), input_dose=fit.input_dose))
    (restored,) = restoration
    spread = np.maximum(restoration.uncertainty.voxels[scan.body], 1e-6)
    return np.random.default_rng(0).choice(np.abs(restored.volume.voxels - full)[scan.body] / spread, VOXELS)


def scale_that_holds(fit: Fit, errors: Sequence[np.ndarray]) -> Fit:
    """The fit with its uncertainty_scale moved as little as lets the 90 % interval hold HELD of the voxels whose errors
    over its uncertainty these are."""
    narrowest, widest = np.quantile(np.concatenate(errors), HELD) / 1.645
    return replace(fit, uncertainty_scale=float(fit.uncertainty_scale * np.clip(1.0, narrowest, widest)))


def _full_dose_error(bundle: Bundle, cases: Sequence[Path]) -> float:
    """The mean NMAE of full dose over the cases, from one evaluation each."""
    (fit,) = bundle.manifest.fits
    options, errors = RestoreOptions(doses=(1.0,), input_dose=fit.input_dose, samples=1), []
    for case in cases:
        (restored,) = restore(read_dose(case, fit.input_dose), bundle, options)
        real = read_dose(case, 1.0)
        errors.append(image_scores(restored.volume.voxels, real.voxels, real.body)["nmae"])
    return float(np.mean(errors))
