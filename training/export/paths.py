"""The path that a restoration takes from each input dose, and what validation cases decide about it.

A restoration has EVALUATIONS of the network. The path ends at the last timestep; one more sample at pure noise is worth
as much to full dose as a stop at an anchor between (docs/benchmark.md), and costs the lower doses nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from MAPDiffLib.model.bundle import Bundle
from MAPDiffLib.model.manifest import Fit
from training.export.other_scanners import errors_over_uncertainty, mistrusting, scale_that_holds
from training.export.posthoc_fit import fit_uncertainty, fit_weights, measure, widest_noise

EVALUATIONS = 8


def fit_paths(bundle: Bundle, validation: Sequence[Path], unlike: Sequence[Path] = ()) -> tuple[Fit, ...]:
    """A fit for each of the bundle's input doses; of the bundle's own none is used.

    unlike: validation cases of scanners unlike those of training, which say how far to mistrust wide noise and how wide
    the uncertainty has to be.
    """
    doses = tqdm(bundle.manifest.input_doses, desc="fit", unit="input dose")
    return tuple(_fit_path(bundle, dose, validation, unlike) for dose in doses)


def _fit_path(bundle: Bundle, input_dose: float, validation: Sequence[Path], unlike: Sequence[Path]) -> Fit:
    stops = bundle.manifest.timesteps
    timesteps = tuple(dict.fromkeys((stops[0], stops[-1])))  # one alone for a one-pass regression
    samples = EVALUATIONS + 1 - len(timesteps)
    cases = [
        measure(bundle.network, bundle.manifest.diffusion, case, input_dose, timesteps, samples) for case in validation
    ]
    weights = fit_weights(cases, timesteps)
    scale = fit_uncertainty(cases, weights)
    noise_voxels, wide_noise = widest_noise(validation, input_dose) or (None, None)
    if unlike and wide_noise:
        wide_noise = mistrusting(bundle, input_dose, noise_voxels, wide_noise, unlike)
    fit = Fit(input_dose, samples, weights, scale, noise_voxels, wide_noise)
    if not unlike:
        return fit
    return scale_that_holds(fit, [errors_over_uncertainty(bundle, fit, case) for case in unlike])
