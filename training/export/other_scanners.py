"""What cases of scanners unlike those of training say: which anchors help there too, how far to mistrust wide noise,
and how wide the uncertainty has to be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from MAPDiffLib.model.bundle import Bundle
from MAPDiffLib.restoration.restore import RestoreOptions, restore
from training.cases.case_file import read_dose
from training.evaluation.networks import restored_images, without_path
from training.export.posthoc_fit import VOXELS
from training.scores.doses import dose_scores
from training.scores.image import image_scores

ALLOWED = 1.005
HELD = (0.86, 0.95)  # of these cases' body voxels, by the 90 % interval: 85 to 95 % are wanted on any scanner
POWERS = (0.0, 0.4, 0.8, 1.2, 1.6)  # of how much wider noise is than in training: what divides the dose told


def mistrusting(bundle: Bundle, input_dose: float, noise: dict, cases: Sequence[Path]) -> dict:
    """`noise`, of posthoc_fit.widest_noise, its wide_noise with the lowest power whose error of these cases' full
    dose (NMAE; the first evaluation alone, once) is within ALLOWED of the least: mistrust smooths small lesions too."""
    fit = {"input_dose": input_dose, "samples": 1, "combine": {}, "uncertainty_scale": 1.0}
    powers = [noise | {"wide_noise": noise["wide_noise"] | {"power": power}} for power in POWERS]
    errors = [_full_dose_error(_with_fit(bundle, fit | each), cases, input_dose) for each in powers]
    return next(each for each, error in zip(powers, errors, strict=True) if error <= ALLOWED * min(errors))


@dataclass(frozen=True)
class RestoredUnlike:
    """A case restored by a fit: {dose with a share: its NMAE in units of the closed-form mix's}, and of VOXELS random
    voxels of the body the error of full dose in units of the uncertainty."""

    over_mixes: dict[float, float]
    errors: np.ndarray


def restored_unlike(bundle: Bundle, fit: dict, case: Path) -> RestoredUnlike:
    """What `fit` makes of a case, once for all that is asked of it."""
    shared = [float(dose) for dose, rule in fit["combine"].items() if rule.get("anchored")]
    input_dose = fit["input_dose"]
    scan, full = read_dose(case, input_dose), read_dose(case, 1.0).voxels
    options = RestoreOptions(doses=(*shared, 1.0), input_dose=input_dose)
    images, ending = restored_images(scan, _with_fit(bundle, fit), options)
    real = {dose: read_dose(case, dose).voxels for dose in shared}
    rows = dose_scores(images, scan.voxels, input_dose, real, scan.body)
    error = np.abs(images[1.0] - full)[scan.body] / np.maximum(ending.uncertainty.voxels[scan.body], 1e-6)
    return RestoredUnlike(
        {row["dose"]: row["nmae"] / row["mix_nmae"] for row in rows},
        np.random.default_rng(0).choice(error, VOXELS),  # so that every case counts as much
    )


def uncertainty_that_holds(scale: float, cases: Sequence[RestoredUnlike]) -> float:
    """The uncertainty_scale of the fit that restored them, moved as little as lets the 90 % interval hold HELD of their
    voxels."""
    narrowest, widest = np.quantile(np.concatenate([case.errors for case in cases]), HELD) / 1.645
    return float(scale * np.clip(1.0, narrowest, widest))


def _with_fit(bundle: Bundle, fit: dict) -> Bundle:
    return replace(bundle, manifest=bundle.manifest | {"sampling": bundle.manifest["sampling"] | {"fits": [fit]}})


def _full_dose_error(bundle: Bundle, cases: Sequence[Path], input_dose: float) -> float:
    """The mean NMAE of full dose over the cases, from one evaluation each."""
    options, errors = RestoreOptions(doses=(1.0,), input_dose=input_dose, samples=1), []
    for case in cases:
        (restored,) = restore(read_dose(case, input_dose), without_path(bundle), options)
        real = read_dose(case, 1.0)
        errors.append(image_scores(restored.volume.voxels, real.voxels, real.body)["nmae"])
    return float(np.mean(errors))
