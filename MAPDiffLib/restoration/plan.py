"""What a restoration will do, decided before it starts: input dose, doses, timesteps, samples, weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from MAPDiffLib.errors import InputError
from MAPDiffLib.model.bundle import Bundle
from MAPDiffLib.restoration.doses import DoseCalibration, DoseEstimate, assumed_dose, dose_label, estimate_dose
from MAPDiffLib.restoration.noise import noise_volume_mm3
from MAPDiffLib.scan.volume import Volume

if TYPE_CHECKING:
    from MAPDiffLib.restoration.restore import RestoreOptions

CLOSE = 1.1  # an anchor within 10 % of the input's own dose has nothing to add
GIVEN_BY = "--input-dose 1/20; in Slicer: Its dose"  # how a user says what dose the scan is


@dataclass(frozen=True)
class Plan:
    """doses: asked for, ascending; anchors: {timestep: dose} above the input's own, full dose at the last timestep.

    input_dose: what the scan is taken for, by assumption alone where `dose_assumed`.

    timesteps: where the path stops: not at every anchor, only at those whose dose gains by it (export/paths.py).

    weights, uncertainty_scale, noise_voxels, wide_noise: what bundle.json's fit for the nearest input dose says; the
    last two are the width of the widest noise in training, in voxels, axial and in plane, and its volume in mm3 with
    the power of what exceeds it (None: not known). lowest: the lowest input dose in training.
    """

    input_dose: float
    doses: tuple[float, ...]
    timesteps: tuple[int, ...]
    anchors: dict[int, float]
    samples: int
    weights: dict[str, dict]
    uncertainty_scale: float
    noise_voxels: tuple[float, float] | None = None
    wide_noise: dict[str, float] | None = None
    lowest: float = 0.0
    dose_assumed: bool = False

    def told_dose(self, widths_mm: Sequence[float] | None) -> float:
        """The dose that the network is told of a scan with noise of these widths (z, y, x): its own, or a lower one
        where the noise fills a larger volume than any in training, but none below the lowest in training.

        Few iterations and strong filters hide most of a scan's noise and leave what is hardest to tell from anatomy. A
        network that takes such a scan for a good one leaves it there.
        """
        if self.wide_noise is None or widths_mm is None or np.isnan(widths_mm).any():
            return self.input_dose
        excess = max(1.0, noise_volume_mm3(widths_mm) / self.wide_noise["mm3"])
        told = self.input_dose * excess ** -self.wide_noise["power"]
        return min(self.input_dose, max(self.lowest, told))

    @property
    def anchor_doses(self) -> list[float]:
        """The anchors' doses, ascending."""
        return sorted(self.anchors.values())

    @property
    def stages(self) -> list[float]:
        """The doses that the path stops for, ascending: full dose is the last."""
        return [self.anchors[t] for t in self.timesteps if t in self.anchors]

    def doses_up_to(self, anchor: float, below: float) -> list[float]:
        """The asked-for doses in (below, anchor], ascending."""
        return [dose for dose in self.doses if below < dose <= anchor]

    def estimate_weights(self) -> list[float]:
        """The weight of each timestep's x0_hat in the estimate of full dose, summing to one.

        The bundle's fitted weights where they know this path; else the mean of the last three.
        """
        known = self.weights.get("1", {}).get("estimate", {})
        weights = [known.get(str(t), 0.0) for t in self.timesteps]
        if not _knows(self.weights, self.timesteps) or sum(weights) <= 0:
            weights = [float(left <= 3) for left in range(len(self.timesteps), 0, -1)]
        return [weight / sum(weights) for weight in weights]

    def anchored_share(self, dose: float) -> float:
        """How much of a dose is the x0_hat at its own timestep; the rest is the closed-form mix."""
        return self.weights.get(f"{dose:g}", {}).get("anchored", 0.0)


def estimate_input_dose(volume: Volume, body: np.ndarray, bundle: Bundle) -> DoseEstimate | None:
    """The scan's own dose from its noise, by the bundle's calibration; None where that cannot be had."""
    calibration = bundle.manifest.get("dose_estimate")
    if not calibration:
        return None
    curve = DoseCalibration(tuple(calibration["doses"]), tuple(calibration["noise"]), calibration["scatter"])
    return estimate_dose(volume.voxels, body, volume.spacing_mm, curve)


def make_plan(bundle: Bundle, options: RestoreOptions, estimate: DoseEstimate | None) -> Plan:
    """Check the options against the bundle and the scan. InputError says which option cannot work and why."""
    anchors = {anchor["dose"]: anchor["tau"] for anchor in bundle.manifest["anchors"]}
    sampling = bundle.manifest["sampling"]
    assumed = options.input_dose is None
    input_dose = assumed_dose(estimate, options.doses) if assumed else _given_dose(options.input_dose)
    doses = _doses(options.doses, input_dose, sorted(anchors))
    fit = nearest_fit(sampling["fits"], input_dose)
    samples = fit["samples"] if options.samples is None else options.samples
    if not 1 <= samples <= 64:
        raise InputError(f"samples is {samples}; 1 to 64 are needed")
    if not 0 <= options.seed < 2**31:
        raise InputError(f"seed is {options.seed}; a whole number from 0 to {2**31 - 1} is needed")
    skipped = {tau for dose, tau in anchors.items() if not is_above(dose, input_dose)}
    stops = [t for t in sampling["timesteps"] if t not in skipped]
    stops = [t for t in stops if _knows(fit["combine"], [t])] or stops
    above = {tau: dose for dose, tau in anchors.items() if is_above(dose, input_dose) and dose < 1}
    return Plan(
        input_dose, doses, tuple(_with_steps(stops, options.steps)), above | {stops[-1]: 1.0}, samples, fit["combine"],
        fit["uncertainty_scale"], fit.get("noise_voxels"), fit.get("wide_noise"), min(bundle.manifest["input_doses"]),
        assumed,
    )  # fmt: skip


def nearest_fit(fits: Sequence[dict], input_dose: float) -> dict:
    """The one of bundle.json's sampling.fits whose input dose is nearest, as a ratio."""
    return min(fits, key=lambda fit: abs(math.log(fit["input_dose"] / input_dose)))


def is_above(dose: float, input_dose: float) -> bool:
    """Whether a dose is high enough over the input's own to be restored, and its anchor to be passed."""
    return dose > input_dose * CLOSE


def _knows(weights: dict[str, dict], timesteps: Sequence[int]) -> bool:
    """Whether fitted weights (the combine of a fit) are for a path of these timesteps."""
    return set(map(str, timesteps)) <= set(weights.get("1", {}).get("estimate", {}))


def _given_dose(dose: float) -> float:
    if not 0 < dose < 1:
        raise InputError(f"the input's dose is given as {dose:g}; a fraction of full dose in (0, 1) is needed")
    return dose


def _doses(asked: Sequence[float] | None, input_dose: float, anchors: list[float]) -> tuple[float, ...]:
    above = tuple(dose for dose in anchors if is_above(dose, input_dose))
    if not above:
        raise InputError(
            f"the scan's dose is given as {input_dose:.3g}, so there is no higher dose to restore; if that is wrong,"
            f" correct it ({GIVEN_BY})"
        )
    if asked is None:
        return above
    if not asked:
        raise InputError("no dose is asked for; give at least one, like 1/4 or full")
    for dose in asked:
        if not 0 < dose <= 1:
            raise InputError(f"dose {dose:g} is asked for; fractions of full dose in (0, 1] are needed")
        if dose <= input_dose:
            raise InputError(
                f"dose {dose_label(dose)} is asked for, but the scan's own dose is given as {input_dose:.3g};"
                f" only higher doses can be restored; if that is wrong, correct it ({GIVEN_BY})"
            )
    return tuple(sorted(set(asked)))


def _with_steps(grid: list[int], steps: int | None) -> list[int]:
    """`grid` with as many further timesteps as asked for, each in the middle of the widest gap."""
    if steps is None or steps == len(grid):
        return grid
    if not len(grid) < steps <= grid[0] - grid[-1] + 1:
        raise InputError(f"steps is {steps}; from {len(grid)} (one per stop) to {grid[0] - grid[-1] + 1} are possible")
    grid = list(grid)
    while len(grid) < steps:
        gaps = [a - b for a, b in zip(grid, grid[1:], strict=False)]
        widest = gaps.index(max(gaps))
        grid.insert(widest + 1, (grid[widest] + grid[widest + 1]) // 2)
    return grid


def about_input(plan: Plan, estimate: DoseEstimate | None) -> dict:
    """What a user is told of the scan's own dose: dose_used, dose_assumed, dose_hint (what the noise looks like, None
    where it cannot be measured) and the sentence to show, `message`."""
    hint = f"the noise looks like {estimate}" if estimate else None
    taken = f"The scan is taken for {dose_label(plan.input_dose)} dose, "
    if plan.dose_assumed:
        taken += f"an assumption: {hint or 'its noise cannot be measured'}. If you know its dose, say it ({GIVEN_BY})."
    else:
        taken += "as given."
    return {"dose_used": plan.input_dose, "dose_assumed": plan.dose_assumed, "dose_hint": hint, "message": taken}


def cautions(volume: Volume, bundle: Bundle, plan: Plan, estimate: DoseEstimate | None) -> list[str]:
    """Sentences for a user whose scan lies outside what the bundle was trained for, or whose dose does not fit."""
    low, high = bundle.manifest["spacing_range_mm"]
    found = []
    if min(volume.spacing_mm) < low * 0.95 or max(volume.spacing_mm) > high * 1.05:
        seen = " x ".join(f"{s:.2f}" for s in volume.spacing_mm)
        found.append(f"The voxels are {seen} mm; the model was trained on {low:g} to {high:g} mm. Judge with care.")
    lowest, highest = min(bundle.manifest["input_doses"]), max(bundle.manifest["input_doses"])
    trained = f"the model was trained on {dose_label(lowest)} to {dose_label(highest)} dose. Judge with care."
    if not lowest * 0.8 <= plan.input_dose <= highest * 1.25:
        found.append(f"The scan is taken for {dose_label(plan.input_dose)} dose; {trained}")
    if estimate and not plan.dose_assumed and not estimate.low / 2 <= plan.input_dose <= estimate.high * 2:
        found.append(
            f"The dose given is {dose_label(plan.input_dose)}; the noise looks like {estimate}, which another scanner"
            " or filter explains as well."
        )
    if estimate and (estimate.high < lowest * 0.8 or estimate.low > highest * 1.25):
        found.append(f"The noise looks like {estimate}; {trained}")
    return found
