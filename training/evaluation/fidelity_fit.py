"""A bundle's Fidelity, chosen on validation cases: each value by a criterion that is printed with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from scipy.optimize import least_squares

from MAPDiffLib.errors import InputError
from MAPDiffLib.model.fidelity import BOUNDS, DRAWN_PER_MM, Fidelity
from MAPDiffLib.restoration.dose_scans import drawn_variances
from MAPDiffLib.restoration.quantify import best_estimate
from training.evaluation.fidelity import FAINT_SNR, RestoredCases, drawn_figures, drawn_roughness, figures
from training.evaluation.fidelity_table import SIZES_MM, idle_places, in_class, rms
from training.scores.free_response import FreeResponse, sensitivity

LOG_ODDS = tuple(np.arange(-4.0, -0.9, 0.25).tolist())
PLACES = tuple(np.arange(-4.0, 4.01, 0.05).round(2).tolist())
BIASES = tuple(np.arange(0.1, 0.61, 0.02).round(2).tolist())
TAILS = tuple(np.arange(0.8, 2.51, 0.05).round(2).tolist())
LEAST_ERRORS = tuple(np.arange(0.0, 0.051, 0.005).round(3).tolist())
WORSE = 1.05  # than the better of scan and restored image, in no class of size
COVERAGE = 0.9
IDLE = 2.0  # places a scan, where three may be: bodies with fewer lesions than those of the fit have more
ROUNDS = 2  # of drawn noise and detail in turn: each is a little of the other, and the noise, log-normal, of itself
ROUGH_ENOUGH = 0.95
DETAILS = tuple(np.arange(0.0, 2.01, 0.2).round(1).tolist())
PLAIN = Fidelity(drawn_gain=(1.0,) * len(DRAWN_PER_MM), drawn_kept=(0.0,) * len(DRAWN_PER_MM))
LEAST_LESIONS = 20  # on fewer nothing is fitted


@dataclass(frozen=True)
class Price:
    """What a guard may cost at most: in NMAE, in false hot spots a volume over the real full dose's, and in the share
    of lesions that a detector finds at one false positive a volume."""

    error: float
    hot_spots: float
    found: float

    def keeps(self, off: Mapping[str, float], row: Mapping[str, float]) -> bool:
        """Whether the figures of a guard are within it, beside those without one."""
        dear = row["nmae"] / off["nmae"] > 1 + self.error or row["more_hot_spots"] > self.hot_spots
        return not dear and row["found"] >= off["found"] - self.found

    def __str__(self) -> str:
        return (
            f"at most {self.error:.0%} more error, {self.hot_spots:g} more hot spots a volume than the real full dose"
            f" and {self.found:g} of the lesions found fewer"
        )


MOST = {"normal": Price(0.01, 1.0, 0.10), "strong": Price(0.02, 1.0, 0.14)}


@dataclass(frozen=True)
class Choice:
    """Fitted values by name, the sentence that says why, and a line for each of the others that they were chosen from,
    where it is a trade."""

    values: dict[str, float | tuple[float, ...]]
    reason: str
    trade: tuple[str, ...] = ()

    def __str__(self) -> str:
        said = [f"{name} {' '.join(f'{x:g}' for x in np.atleast_1d(value))}" for name, value in self.values.items()]
        return "\n  ".join([f"{', '.join(said)}: {self.reason}", *self.trade])


def fit_fidelity(cases: RestoredCases) -> tuple[Fidelity, list[Choice]]:
    """The values that these cases decide. InputError where they have too few lesions."""
    choices = list(_guards(cases))
    fidelity = replace(PLAIN, **{name: value for choice in choices for name, value in choice.values.items()})
    records = [figures(case, fidelity) for case in cases]
    if sum(len(record["lesions"]) for record in records) < LEAST_LESIONS:
        raise InputError(f"the cases have fewer than {LEAST_LESIONS} lesions; make some with --lesion-rich.")
    for chosen in (_place, _noise, _bias, _interval):
        choice = chosen(records, fidelity)
        fidelity = replace(fidelity, **choice.values)
        choices.append(choice)
    drawn = _drawn([record["scans"] for record in records], fidelity)
    for _ in range(ROUNDS):
        fidelity = replace(fidelity, **drawn.values)
        detail = _detail(cases, fidelity)
        fidelity = replace(fidelity, **detail.values)
        drawn = _drawn([drawn_figures(case, fidelity) for case in cases], fidelity)
    return replace(fidelity, **drawn.values), [*choices, drawn, detail]


def _guards(cases: RestoredCases) -> Iterator[Choice]:
    """The least log-odds that keep what is promised of errors, false hot spots and lesions found."""
    rows = [[case.guard_figures(log_odds) for log_odds in (None, *LOG_ODDS)] for case in cases]
    off, *guarded = (_guard_means(column) for column in zip(*rows, strict=True))
    trade = tuple(
        f"{name}: NMAE {row['nmae'] / off['nmae'] - 1:+.2%}, {row['more_hot_spots']:+.2f} hot spots, {row['found']:.2f}"
        f" found, contrast at SNR {FAINT_SNR[0]:g} to {FAINT_SNR[1]:g} {row['recovered']:.2f}"
        for name, row in zip(("off", *(f"from {log_odds:g}" for log_odds in LOG_ODDS)), (off, *guarded), strict=True)
    )
    for strength, most in MOST.items():
        kept = [most.keeps(off, row) for row in guarded]
        least = kept.index(True) if any(kept) else len(kept) - 1
        error, spots, found = (guarded[least][name] for name in ("nmae", "more_hot_spots", "found"))
        yield Choice(
            {f"guard_{strength}": LOG_ODDS[least]},
            f"the least log-odds with {most}:"
            f" {error / off['nmae'] - 1:+.2%}, {spots:+.1f}, {found - off['found']:+.2f}",
            trade if strength == "normal" else (),
        )


def _guard_means(rows: Sequence[dict]) -> dict[str, float]:
    """Over cases; hot spots and lesions found are 0 where no case's truth is known, contrast nan without lesions."""
    spots = [row["more_hot_spots"] for row in rows if row["more_hot_spots"] is not None]
    return {
        "nmae": float(np.mean([row["nmae"] for row in rows])),
        "recovered": float(np.median(left)) if (left := [x for row in rows for x in row["recovered"]]) else np.nan,
        "more_hot_spots": float(np.mean(spots)) if spots else 0.0,
        "found": sensitivity([FreeResponse(**row["found"]) for row in rows if row["found"]]) or 0.0,
    }


def _place(records: Sequence[dict], fidelity: Fidelity) -> Choice:
    idle = {log_odds: idle_places(records, log_odds, most=None) for log_odds in PLACES}
    least = next((log_odds for log_odds in PLACES if idle[log_odds] <= IDLE), PLACES[-1])
    reason = f"the least log-odds with at most {IDLE:g} places a scan where nothing was lost: {idle[least]:.1f}"
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


def _drawn(records: Sequence[Mapping[str, dict]], fidelity: Fidelity) -> Choice:
    """In each band a drawn scan's noise makes up for what is missing: least squares over bands, cases and doses, of
    each case's scans, drawn with `fidelity`, by dose."""
    scans = [list(rows.values()) for rows in records if any("missing" in row for row in rows.values())]
    if not scans:
        plain = {name: getattr(PLAIN, name) for name in ("drawn_gain", "drawn_kept")}
        return Choice(plain, "no case has a liver to fit drawn noise in")

    def left(values: np.ndarray) -> np.ndarray:
        return np.concatenate([_left_missing(rows, fidelity, *np.split(values, 2)) for rows in scans])

    start = np.concatenate([fidelity.drawn_gain, fidelity.drawn_kept])
    gains, kept = np.split(least_squares(left, start, bounds=(0, np.inf)).x, 2)
    return Choice(
        {name: tuple(_held(name, x) for x in found) for name, found in (("drawn_gain", gains), ("drawn_kept", kept))},
        f"by what a mean's power in the liver lacks of a real scan's, in {len(scans)} cases",
    )


def _left_missing(
    rows: Sequence[Mapping], fidelity: Fidelity, gains: Sequence[float], kept: Sequence[float]
) -> np.ndarray:
    """What is still missing of one case's scans, ascending in dose and drawn with `fidelity`, with another gain and
    share kept at each of DRAWN_PER_MM: [scans x bands]."""
    own, other = (_power(rows, *of) for of in ((fidelity.drawn_gain, fidelity.drawn_kept), (gains, kept)))
    times = np.divide(other, own, out=np.zeros_like(own), where=own > 0)
    return np.concatenate([row["missing"] - np.matmul(row["drawn"], by) for row, by in zip(rows, times, strict=True)])


def _power(rows: Sequence[Mapping], gains: Sequence[float], kept: Sequence[float]) -> np.ndarray:
    """Of the noise in one case's drawn scans, each held by the next: [scans, nodes], in units of the input's over the
    scan's dose squared, doses in units of the input's."""
    lower, power, found = 1.0, np.zeros(len(gains)), []
    for row in rows:
        dose, share = row["times"], np.divide(kept, row["relative_noise"])
        power = power + (dose - lower) ** 2 * np.array(drawn_variances(gains, share, 1.0, lower, dose))
        lower = dose
        found.append(power)
    return np.array(found)


def _detail(cases: RestoredCases, fidelity: Fidelity) -> Choice:
    """The least with which drawn full-dose scans are rough enough: detail is drawn where lesions are too."""
    rough = np.mean([drawn_roughness(case, fidelity, DETAILS) for case in cases], axis=0)
    least = next((number for number, value in enumerate(rough) if value >= ROUGH_ENOUGH), len(DETAILS) - 1)
    said = f"the least with which drawn full-dose scans are {ROUGH_ENOUGH:g} as rough as real ones: {rough[least]:.2f}"
    return Choice({"drawn_detail": DETAILS[least]}, said)


def _held(name: str, value: float) -> float:
    """Rounded, within what a bundle may say."""
    low, high = BOUNDS[name]
    return float(min(max(round(float(value), 4), low), high))
