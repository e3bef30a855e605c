"""A bundle's Fidelity, chosen on validation cases: each value by a criterion that is printed with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from scipy.optimize import nnls

from MAPDiffLib.errors import InputError
from MAPDiffLib.model.fidelity import BOUNDS, DRAWN_PER_MM, Fidelity
from MAPDiffLib.restoration.quantify import best_estimate
from training.evaluation.fidelity import RestoredCases, figures
from training.evaluation.fidelity_table import MOST_IDLE, SIZES_MM, idle_places, in_class, rms

EVIDENCES = tuple(np.arange(3.5, 7.01, 0.25).tolist())
MOST_ERROR, MOST_HOT_SPOTS = {"normal": 0.01, "strong": 0.02}, {"normal": 0.5, "strong": 1.0}
PLACES = tuple(np.arange(3.5, 12.01, 0.05).round(2).tolist())
BIASES = tuple(np.arange(0.1, 0.61, 0.02).round(2).tolist())
TAILS = tuple(np.arange(0.8, 2.51, 0.05).round(2).tolist())
LEAST_ERRORS = tuple(np.arange(0.015, 0.051, 0.005).round(3).tolist())  # a scan of another dose reads no nearer
WORSE = 1.05  # than the better of scan and restored image, in no class of size
COVERAGE = 0.9
PLAIN = Fidelity(drawn_gain=(1.0,) * len(DRAWN_PER_MM), drawn_kept=(0.0,) * len(DRAWN_PER_MM))
LEAST_LESIONS = 20  # on fewer nothing is fitted


@dataclass(frozen=True)
class Choice:
    """Fitted values by name, and the sentence that says why."""

    values: dict[str, float | tuple[float, ...]]
    reason: str

    def __str__(self) -> str:
        said = [f"{name} {' '.join(f'{x:g}' for x in np.atleast_1d(value))}" for name, value in self.values.items()]
        return f"{', '.join(said)}: {self.reason}"


def fit_fidelity(cases: RestoredCases) -> tuple[Fidelity, list[Choice]]:
    """The values that these cases decide. InputError where they have too few lesions."""
    choices = list(_guards(cases))
    fidelity = replace(PLAIN, **{name: value for choice in choices for name, value in choice.values.items()})
    records = [figures(case, fidelity) for case in cases]
    if sum(len(record["lesions"]) for record in records) < LEAST_LESIONS:
        raise InputError(f"the cases have fewer than {LEAST_LESIONS} lesions; make some with --lesion-rich.")
    for chosen in (_place, _noise, _bias, _interval, _drawn):
        choice = chosen(records, fidelity)
        fidelity = replace(fidelity, **choice.values)
        choices.append(choice)
    return fidelity, choices


def _guards(cases: RestoredCases) -> Iterator[Choice]:
    """The least evidence that keeps what is promised of errors and false hot spots."""
    errors, spots = np.zeros((len(EVIDENCES), len(cases))), np.full((len(EVIDENCES), len(cases)), np.nan)
    for number, restored in enumerate(cases):
        off = restored.guard_figures(None)["nmae"]
        for step, evidence in enumerate(EVIDENCES):
            row = restored.guard_figures(evidence)
            errors[step, number] = row["nmae"] / off - 1
            spots[step, number] = np.nan if row["more_hot_spots"] is None else row["more_hot_spots"]
    error = errors.mean(axis=1)
    more = np.nanmean(spots, axis=1) if np.isfinite(spots).any() else np.zeros(len(EVIDENCES))
    for strength, most in MOST_ERROR.items():
        fine = (error <= most) & (more <= MOST_HOT_SPOTS[strength])
        least = int(np.argmax(fine)) if fine.any() else len(EVIDENCES) - 1
        yield Choice(
            {f"guard_{strength}": EVIDENCES[least]},
            f"the least evidence with at most {most:.0%} more error and {MOST_HOT_SPOTS[strength]:g} more hot spots a"
            f" volume than the real full dose: {error[least]:+.2%}, {more[least]:+.1f}",
        )


def _place(records: Sequence[dict], fidelity: Fidelity) -> Choice:
    idle = {evidence: idle_places(records, evidence) for evidence in PLACES}
    least = next((evidence for evidence in PLACES if idle[evidence] <= MOST_IDLE), PLACES[-1])
    reason = f"the least evidence with at most {MOST_IDLE:g} places a scan where nothing was lost: {idle[least]:.1f}"
    return Choice({"place": least}, reason)


def _noise(records: Sequence[dict], fidelity: Fidelity) -> Choice:
    """From how much of the noise next to each lesion was taken away."""
    rows = [
        (np.log(record["relative_noise"]), np.log(lesion["noise"] / lesion["taken_away"]))
        for record in records
        for lesion in record["lesions"]
        if lesion["noise"] and lesion["taken_away"]
    ]
    relative, factor = np.transpose(rows)
    power, constant = np.polyfit(relative, factor, 1) if len(set(relative)) > 1 else (0.0, factor.mean())
    values = {"noise_factor": _held("noise_factor", np.exp(constant)), "noise_power": _held("noise_power", -power)}
    reason = f"the noise of means next to {len(rows)} lesions over what was taken away of it, by how noisy a scan is"
    return Choice(values, reason)


def _bias(records: Sequence[dict], fidelity: Fidelity) -> Choice:
    """The value with the least error over all among those that are good enough in every class."""
    scores = {bias: _ratios(records, replace(fidelity, bias=bias)) for bias in BIASES}
    best = min(BIASES, key=lambda bias: (max(WORSE, *scores[bias][:-1]), scores[bias][-1]))
    reason = "the best estimate's error over the better of scan and restored image, at most"
    return Choice(
        {"bias": best}, f"{reason} {max(scores[best][:-1]):.2f} in a class of size, {scores[best][-1]:.2f} in all"
    )


def _ratios(records: Sequence[dict], fidelity: Fidelity) -> list[float]:
    """By class of size, and over all."""
    rows, ratios = [lesion | {"value": best.value} for _, lesion, best in estimates(records, fidelity)], []
    for low, high in (*SIZES_MM, (0.0, np.inf)):
        if chosen := in_class(rows, low, high):
            value, scan, full = (rms([x[of] / x["real"] - 1 for x in chosen]) for of in ("value", "scan", "full"))
            ratios.append(value / min(scan, full))
    return ratios


def _interval(records: Sequence[dict], fidelity: Fidelity) -> Choice:
    """The values with which each class of size is covered most nearly as promised."""

    def off(values: tuple[float, float]) -> float:
        shares = _coverages(records, replace(fidelity, tails=values[0], least_error=values[1]))
        return float(np.square(np.subtract(shares, COVERAGE)).sum())

    tails, least_error = min(product(TAILS, LEAST_ERRORS), key=off)
    shares = _coverages(records, replace(fidelity, tails=tails, least_error=least_error))
    return Choice(
        {"tails": tails, "least_error": least_error},
        f"90 % intervals hold {min(shares):.0%} to {max(shares):.0%} by class of size",
    )


def _coverages(records: Sequence[dict], fidelity: Fidelity) -> list[float]:
    held = [(lesion, best.low <= lesion["real"] <= best.high) for _, lesion, best in estimates(records, fidelity)]
    classes = [[inside for lesion, inside in held if low <= lesion["diameter_mm"] < high] for low, high in SIZES_MM]
    return [float(np.mean(inside)) for inside in classes if inside]


def estimates(records: Sequence[dict], fidelity: Fidelity) -> Iterator[tuple]:
    """(record, lesion, best estimate) of every lesion whose noise was measured."""
    for record in records:
        factor = fidelity.noise_factor * record["relative_noise"] ** -fidelity.noise_power
        for lesion in record["lesions"]:
            if lesion["deviation"]:
                deviation = factor * lesion["deviation"]
                yield record, lesion, best_estimate(lesion["scan"], lesion["full"], deviation, fidelity)


def _drawn(records: Sequence[dict], fidelity: Fidelity) -> Choice:
    """In each band, missing = drawn (gain - kept (d - d0) / d0 / r), of the relative noise r: least squares over cases
    and doses, drawn PLAIN."""
    rows = [row for record in records for row in record["scans"].values() if "missing" in row]
    if not rows:
        plain = {name: getattr(PLAIN, name) for name in ("drawn_gain", "drawn_kept")}
        return Choice(plain, "no case has a liver to fit drawn noise in")
    missing, drawn = (np.array([row[name] for row in rows]).T for name in ("missing", "drawn"))
    beyond = np.array([(row["times"] - 1) / row["relative_noise"] for row in rows])
    bands = [nnls(np.transpose([own, -own * beyond]), needed)[0] for own, needed in zip(drawn, missing, strict=True)]
    gains, kept = np.transpose(bands)
    return Choice(
        {name: tuple(_held(name, x) for x in found) for name, found in (("drawn_gain", gains), ("drawn_kept", kept))},
        f"by what a mean's power in the liver lacks of a real scan's, over {len(rows)} scans",
    )


def _held(name: str, value: float) -> float:
    """Rounded, within what a bundle may say."""
    low, high = BOUNDS[name]
    return float(min(max(round(float(value), 4), low), high))
