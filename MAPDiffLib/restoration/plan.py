"""What a restoration will do, decided before it starts: input dose, doses, samples, strength, noise told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from MAPDiffLib.errors import InputError
from MAPDiffLib.job import RestoreOptions
from MAPDiffLib.model.manifest import Manifest, Sampling
from MAPDiffLib.restoration.doses import DoseEstimate, assumed_dose, dose_label, dose_of_noise
from MAPDiffLib.restoration.facts import ScanFacts
from MAPDiffLib.restoration.noise import UNKNOWN_NOISE, Noise

SAME_DOSE_RATIO = 1.1  # a dose within 10 % of the input's own dose has nothing to add
GIVEN_BY = "--input-dose 1/20; in Slicer: Its dose"  # how a user says what dose the scan is


@dataclass(frozen=True)
class Plan:
    """input_dose: what the scan is taken for, by assumption alone where `dose_assumed`; looks_like: by its noise. That
    sets the arithmetic between the scan and the estimate, never the estimate.

    doses: asked for, ascending. noise: of the scan, as usual where it cannot be measured; strength: so many times its
    level the network is told. uncertainty_scale: what makes standard deviations of the samples' own.
    """

    input_dose: float
    dose_assumed: bool
    looks_like: DoseEstimate | None
    doses: tuple[float, ...]
    samples: int
    seed: int
    noise: Noise
    strength: float
    uncertainty_scale: float

    def told(self, spacing_mm: Sequence[float]) -> tuple[float, float, float]:
        """The noise as the network is told it, on voxels of this spacing (x, y, z)."""
        level, axial, plane = self.noise.in_voxels(spacing_mm)
        return self.strength * level, axial, plane


def make_plan(facts: ScanFacts, manifest: Manifest, options: RestoreOptions) -> Plan:
    """The plan for a scan of these facts. InputError says which option cannot work and why."""
    looks_like = None
    if facts.relative_noise is not None and manifest.dose_calibration is not None:
        looks_like = dose_of_noise(facts.relative_noise, manifest.dose_calibration)
    assumed = options.input_dose is None
    input_dose = assumed_dose(looks_like, options.doses) if assumed else options.input_dose
    noise, sampling = facts.noise or UNKNOWN_NOISE, manifest.sampling
    return Plan(
        input_dose=input_dose,
        dose_assumed=assumed,
        looks_like=looks_like,
        doses=_doses(options.doses, input_dose, [anchor.dose for anchor in manifest.anchors]),
        samples=sampling.samples if options.samples is None else options.samples,
        seed=options.seed,
        noise=noise,
        strength=sampling.strength if options.strength is None else options.strength,
        uncertainty_scale=uncertainty_scale(sampling, noise.level),
    )


def uncertainty_scale(sampling: Sampling, level: float) -> float:
    """At a level of noise: between two of the bundle's by the power law through them, held at its ends."""
    levels, scales = np.log(sampling.uncertainty_levels), np.log(sampling.uncertainty_scales)
    return float(np.exp(np.interp(np.log(level), levels, scales)))


def is_above(dose: float, input_dose: float) -> bool:
    """Whether a dose is high enough over the input's own to be restored."""
    return dose > input_dose * SAME_DOSE_RATIO


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
    looks = plan.looks_like
    if looks and not plan.dose_assumed and not looks.low / 2 <= plan.input_dose <= looks.high * 2:
        found.append(
            f"The dose given is {dose_label(plan.input_dose)}; the noise looks like {looks}, which another scanner"
            " or filter explains as well."
        )
    low, high = manifest.noise_levels
    if not low / 1.2 <= plan.noise.level <= high * 1.2:
        found.append(
            f"The scan's noise is {plan.noise.level:.1%} of the activity around it; the model was trained on"
            f" {low:.1%} to {high:.1%}. Judge with care."
        )
    return found
