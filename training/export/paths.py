"""The path that a restoration takes from each input dose, and what validation cases decide about it.

A restoration has EVALUATIONS of the network. Those that the stops of the path do not take are samples at pure noise,
and one more of these is worth as much to full dose as a stop at an anchor (docs/benchmark.md). So the path stops only
at the anchors whose own dose gains by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from MAPDiffLib.model.bundle import Bundle
from MAPDiffLib.model.diffusion import Diffusion
from MAPDiffLib.restoration.plan import is_above
from training.export.other_scanners import mistrusting, restored_unlike, uncertainty_that_holds
from training.export.posthoc_fit import (
    fit_uncertainty,
    fit_weights,
    granted,
    measure,
    measured_over_mixes,
    widest_noise,
)

EVALUATIONS = 8


def fit_paths(bundle: Bundle, validation: Sequence[Path], unlike: Sequence[Path] = ()) -> list[dict]:
    """The fits of bundle.json's sampling, one for each of the bundle's input doses; of the bundle's own none is used.

    unlike: validation cases of scanners unlike those of training, where an anchor must help too to keep its share.
    """
    doses = tqdm(bundle.manifest["input_doses"], desc="fit", unit="input dose")
    return [_fit_path(bundle, dose, validation, unlike) for dose in doses]


def _fit_path(bundle: Bundle, input_dose: float, validation: Sequence[Path], unlike: Sequence[Path]) -> dict:
    """From a path with all anchors above the input's dose: fitted, and without those that came away with no share
    fitted again, until each has one."""
    manifest = bundle.manifest
    diffusion, stops = Diffusion(**manifest["diffusion"]), manifest["sampling"]["timesteps"]
    anchors = {anchor["tau"]: anchor["dose"] for anchor in manifest["anchors"][:-1]}
    anchors = {tau: dose for tau, dose in anchors.items() if is_above(dose, input_dose)}
    noise = widest_noise(validation, input_dose)
    if unlike and noise:
        noise = mistrusting(bundle, input_dose, noise, unlike)
    while True:
        timesteps = list(dict.fromkeys([stops[0], *anchors, stops[-1]]))  # one alone for a one-pass regression
        samples = max(1, EVALUATIONS + 1 - len(timesteps))
        cases = [measure(bundle.network, diffusion, case, input_dose, timesteps, samples) for case in validation]
        combine = fit_weights(cases, input_dose, timesteps, anchors)
        scale = fit_uncertainty(cases, combine["1"]["estimate"])
        fit = {"input_dose": input_dose, "samples": samples, "combine": combine, "uncertainty_scale": scale} | noise
        alike = [measured_over_mixes(case, combine, input_dose, timesteps, anchors) for case in cases]
        others = [restored_unlike(bundle, fit, case) for case in unlike]
        fit["combine"] = granted(combine, alike, [other.over_mixes for other in others])
        kept = {tau: dose for tau, dose in anchors.items() if fit["combine"][f"{dose:g}"]["anchored"]}
        if kept == anchors:
            return fit | ({"uncertainty_scale": uncertainty_that_holds(scale, others)} if others else {})
        anchors = kept
