"""What scanners unlike those of training decide: which anchors help there too, and how far to mistrust wide noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from MAPDiffLib.bundle import Bundle
from MAPDiffLib.restore import RestoreOptions, restore
from MAPDiffLib.volume import body_mask
from training.datasets import read_dose
from training.table.doses import dose_scores
from training.table.image import image_scores
from training.table.networks import without_path

ALLOWED = 1.005
POWERS = (0.0, 0.4, 0.8, 1.2, 1.6)  # of how much wider noise is than in training: what divides the dose told


def fits_that_hold(bundle: Bundle, cases: Sequence[Path]) -> list[dict]:
    """The fits of a bundle's sampling, for each of which these cases were restored from its input dose.

    wide_noise gets the lowest power whose error of full dose (NMAE; the first evaluation alone, once) is within ALLOWED
    of the least: mistrust smooths small lesions too. Then an anchored dose that is on average no nearer to the cases'
    real dose than the closed-form mix gets share 0. The weights of full dose stay.
    """
    fits = [_mistrusting(bundle, fit, cases) for fit in bundle.manifest["sampling"]["fits"]]
    cautious = _with_fits(bundle, fits)
    return [fit | {"combine": _combine_that_holds(cautious, fit, cases)} for fit in fits]


def _with_fits(bundle: Bundle, fits: list[dict]) -> Bundle:
    return replace(bundle, manifest=bundle.manifest | {"sampling": bundle.manifest["sampling"] | {"fits": fits}})


def _mistrusting(bundle: Bundle, fit: dict, cases: Sequence[Path]) -> dict:
    if "wide_noise" not in fit:
        return fit
    powers = [fit | {"wide_noise": fit["wide_noise"] | {"power": power}} for power in POWERS]
    errors = [_full_dose_error(_with_fits(bundle, [each]), cases, fit["input_dose"]) for each in powers]
    return next(each for each, error in zip(powers, errors, strict=True) if error <= ALLOWED * min(errors))


def _full_dose_error(bundle: Bundle, cases: Sequence[Path], input_dose: float) -> float:
    """The mean NMAE of full dose over the cases, from one evaluation each."""
    options, errors = RestoreOptions(doses=(1.0,), input_dose=input_dose, samples=1), []
    for case in cases:
        (restored,) = restore(read_dose(case, input_dose), without_path(bundle), options)
        real = read_dose(case, 1.0)
        errors.append(image_scores(restored.volume.voxels, real.voxels, real.body)["nmae"])
    return float(np.mean(errors))


def _combine_that_holds(bundle: Bundle, fit: dict, cases: Sequence[Path]) -> dict:
    granted = [dose for dose, rule in fit["combine"].items() if rule.get("anchored")]
    if not granted:
        return fit["combine"]
    doses = tuple(map(float, granted))
    means = np.mean([_errors_over_mixes(bundle, case, fit["input_dose"], doses) for case in cases], axis=0)
    return fit["combine"] | {dose: {"anchored": 0.0} for dose, mean in zip(granted, means, strict=True) if mean >= 1}


def _errors_over_mixes(bundle: Bundle, case: Path, input_dose: float, doses: tuple[float, ...]) -> list[float]:
    """A restoration's NMAE at each dose in units of the mix's."""
    scan = read_dose(case, input_dose)
    options = RestoreOptions(doses=(*doses, 1.0), input_dose=input_dose)
    images = {restored.dose: restored.volume.voxels for restored in restore(scan, bundle, options)}
    real = {dose: read_dose(case, dose).voxels for dose in doses}
    rows = dose_scores(images, scan.voxels, input_dose, real, body_mask(scan.voxels, scan.spacing_mm))
    found = {row["dose"]: row["nmae"] / row["mix_nmae"] for row in rows}
    return [found[dose] for dose in doses]
