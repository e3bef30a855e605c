"""What a restoration will do, decided before it starts: input dose, doses, timesteps, samples, weights, grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from MAPDiffLib.errors import InputError
from MAPDiffLib.job import RestoreOptions
from MAPDiffLib.model.manifest import Fit, Manifest
from MAPDiffLib.restoration.doses import DoseEstimate, assumed_dose, dose_label, dose_of_noise
from MAPDiffLib.restoration.facts import ScanFacts
from MAPDiffLib.restoration.noise import noise_volume_mm3
from MAPDiffLib.restoration.working_grid import wanted_voxels

SAME_DOSE_RATIO = 1.1  # an anchor within 10 % of the input's own dose has nothing to add
FAR_BELOW = 0.9  # of a scan's dose: what the user hears of, when the network is told less
GIVEN_BY = "--input-dose 1/20; in Slicer: Its dose"  # how a user says what dose the scan is


@dataclass(frozen=True)
class Plan:
    """input_dose: what the scan is taken for, by assumption alone where `dose_assumed`; looks_like: by its noise.

    doses: asked for, ascending. timesteps: where the path stops, falling; ensemble_weights: of each stop's x0_hat in
    full dose, summing to one; samples: of the first. conditioning_dose: what the network is told. working_mm: the
    voxels (z, y, x) that the network shall see, 0 where the scan's own will do.
    """

    input_dose: float
    dose_assumed: bool
    looks_like: DoseEstimate | None
    doses: tuple[float, ...]
    timesteps: tuple[int, ...]
    ensemble_weights: tuple[float, ...]
    samples: int
    seed: int
    conditioning_dose: float
    working_mm: tuple[float, float, float]
    uncertainty_scale: float


def make_plan(facts: ScanFacts, manifest: Manifest, options: RestoreOptions) -> Plan:
    """The plan for a scan of these facts. InputError says which option cannot work and why."""
    looks_like = None
    if facts.noise is not None and manifest.dose_calibration is not None:
        looks_like = dose_of_noise(facts.noise, manifest.dose_calibration)
    assumed = options.input_dose is None
    input_dose = assumed_dose(looks_like, options.doses) if assumed else options.input_dose
    fit = nearest_fit(manifest.fits, input_dose)
    stops = path_stops(manifest, fit, input_dose)
    return Plan(
        input_dose=input_dose,
        dose_assumed=assumed,
        looks_like=looks_like,
        doses=_doses(options.doses, input_dose, [anchor.dose for anchor in manifest.anchors]),
        timesteps=stops,
        ensemble_weights=stop_weights(fit, stops),
        samples=fit.samples if options.samples is None else options.samples,
        seed=options.seed,
        conditioning_dose=conditioning_dose(input_dose, fit, facts.noise_widths_mm, min(manifest.input_doses)),
        working_mm=wanted_voxels(facts.noise_widths_mm, fit.noise_voxels, max(manifest.spacing_range_mm)),
        uncertainty_scale=fit.uncertainty_scale,
    )


def nearest_fit(fits: Sequence[Fit], input_dose: float) -> Fit:
    """The one whose input dose is nearest, as a ratio."""
    return min(fits, key=lambda fit: abs(math.log(fit.input_dose / input_dose)))


def path_stops(manifest: Manifest, fit: Fit, input_dose: float) -> tuple[int, ...]:
    """The timesteps that a path stops at: those that the fit weighs (all, where it weighs none), but at no anchor of
    the input's own dose or a lower one."""
    skipped = {anchor.tau for anchor in manifest.anchors if not is_above(anchor.dose, input_dose)}
    stops = tuple(t for t in manifest.timesteps if t not in skipped)
    return tuple(t for t in stops if t in fit.ensemble_weights) or stops


def stop_weights(fit: Fit, stops: Sequence[int]) -> tuple[float, ...]:
    """The weight of each stop's x0_hat in full dose, summing to one: the fit's; the mean of the last three where it
    knows none."""
    weights = [fit.ensemble_weights.get(t, 0.0) for t in stops]
    if sum(weights) <= 0:
        weights = [float(left <= 3) for left in range(len(stops), 0, -1)]
    return tuple(weight / sum(weights) for weight in weights)


def is_above(dose: float, input_dose: float) -> bool:
    """Whether a dose is high enough over the input's own to be restored, and its anchor to be passed."""
    return dose > input_dose * SAME_DOSE_RATIO


def conditioning_dose(input_dose: float, fit: Fit, widths_mm: Sequence[float] | None, lowest: float) -> float:
    """The dose that the network is told of a scan with noise of these widths (z, y, x): its own, or a lower one where
    the noise fills a larger volume than any in training, but none below the `lowest` in training.

    Few iterations and strong filters hide most of a scan's noise and leave what is hardest to tell from anatomy. A
    network that takes such a scan for a good one leaves it there.
    """
    if fit.wide_noise is None or widths_mm is None or np.isnan(widths_mm).any():
        return input_dose
    excess = max(1.0, noise_volume_mm3(widths_mm) / fit.wide_noise.mm3)
    told = input_dose * excess**-fit.wide_noise.power
    return min(input_dose, max(lowest, told))


def _doses(asked: Sequence[float] | None, input_dose: float, anchors: Sequence[float]) -> tuple[float, ...]:
    above = tuple(dose for dose in anchors if is_above(dose, input_dose))
    if not above:
        raise InputError(
            f"the scan's dose is given as {input_dose:.3g}, so there is no higher dose to restore; if that is wrong,"
            f" correct it ({GIVEN_BY})"
        )
    if asked is None:
        return above
    for dose in asked:
        if dose <= input_dose:
            raise InputError(
                f"dose {dose_label(dose)} is asked for, but the scan's own dose is given as {input_dose:.3g};"
                f" only higher doses can be restored; if that is wrong, correct it ({GIVEN_BY})"
            )
    return tuple(sorted(set(asked)))


def about_input(plan: Plan) -> dict:
    """What a user is told of the scan's own dose: dose_used, dose_assumed, dose_hint (what the noise looks like, None
    where it cannot be measured) and the sentence to show, `message`."""
    hint = f"the noise looks like {plan.looks_like}" if plan.looks_like else None
    taken = f"The scan is taken for {dose_label(plan.input_dose)} dose, "
    if plan.dose_assumed:
        taken += f"an assumption: {hint or 'its noise cannot be measured'}. If you know its dose, say it ({GIVEN_BY})."
    else:
        taken += "as given."
    return {"dose_used": plan.input_dose, "dose_assumed": plan.dose_assumed, "dose_hint": hint, "message": taken}


def cautions(facts: ScanFacts, manifest: Manifest, plan: Plan) -> list[str]:
    """Sentences for a user whose scan lies outside what the bundle was trained for, or whose dose does not fit."""
    found = []
    low, high = manifest.spacing_range_mm
    if min(facts.spacing_mm) < low * 0.95 or max(facts.spacing_mm) > high * 1.05:
        seen = " x ".join(f"{s:.2f}" for s in facts.spacing_mm)
        found.append(f"The voxels are {seen} mm; the model was trained on {low:g} to {high:g} mm. Judge with care.")
    lowest, highest = min(manifest.input_doses), max(manifest.input_doses)
    trained = f"the model was trained on {dose_label(lowest)} to {dose_label(highest)} dose. Judge with care."
    if not lowest * 0.8 <= plan.input_dose <= highest * 1.25:
        found.append(f"The scan is taken for {dose_label(plan.input_dose)} dose; {trained}")
    looks = plan.looks_like
    if looks and not plan.dose_assumed and not looks.low / 2 <= plan.input_dose <= looks.high * 2:
        found.append(
            f"The dose given is {dose_label(plan.input_dose)}; the noise looks like {looks}, which another scanner"
            " or filter explains as well."
        )
    if looks and (looks.high < lowest * 0.8 or looks.low > highest * 1.25):
        found.append(f"The noise looks like {looks}; {trained}")
    if plan.conditioning_dose < FAR_BELOW * plan.input_dose:
        found.append(
            "The scan's noise is wider than any in training; it is restored as one of"
            f" 1/{1 / plan.conditioning_dose:.0f} dose. Judge with care."
        )
    return found
