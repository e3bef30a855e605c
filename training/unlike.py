"""Whether an anchor helps on scanners unlike those that its share was fitted on; where not, it gets no share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from MAPDiffLib.bundle import Bundle
from MAPDiffLib.restore import RestoreOptions, restore
from MAPDiffLib.volume import body_mask
from training.datasets import read_dose
from training.table.doses import dose_scores


def fits_that_hold(bundle: Bundle, cases: Sequence[Path]) -> list[dict]:
    """The fits of a bundle's sampling, with share 0 for each anchored dose that is on average no nearer to the cases'
    real dose (NMAE) than the closed-form mix, from the fit's input dose. The weights of full dose stay."""
    return [fit | {"combine": _combine_that_holds(bundle, fit, cases)} for fit in bundle.manifest["sampling"]["fits"]]


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
