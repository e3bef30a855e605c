"""What a restored scan is worth: the dose of the real scan that is as good by error, lesions or the liver's noise."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from MAPDiffLib.restoration.doses import dose_label, parse_dose
from training.evaluation.score import REAL

# Of a method's means; the less, the better.
FIGURES: dict[str, Callable[[dict], float | None]] = {
    "error (NMAE)": lambda means: means.get("nmae", {}).get("mean"),
    "lesions from 10 mm (SUVmax off by)": lambda means: ((means.get("lesions") or {}).get("max") or {}).get(
        "median_abs_bias"
    ),
    "noise in the liver": lambda means: means.get("liver_noise"),
}
BETTER = math.inf  # than any real scan that it can be set beside


def real_scans(doses: dict, figure: Callable[[dict], float | None]) -> list[tuple[float, float]]:
    """(value, dose) of the real scans whose figure is known, the best first.

    doses: {input dose: {method: means}} of one group of scanners; the inputs are the real scans.
    """
    ladder = [(figure(methods["input"]), parse_dose(dose)) for dose, methods in doses.items()]
    ladder += [(figure(methods[REAL]), 1.0) for methods in list(doses.values())[:1] if REAL in methods]
    return sorted((value, dose) for value, dose in ladder if value)


def worth_dose(doses: dict, value: float | None, figure: Callable[[dict], float | None]) -> float | None:
    """The dose of a real scan with this value of a figure: between the real doses linear in the logarithms of both.

    BETTER beyond the best of them; None where the figure is not known.
    """
    known = real_scans(doses, figure)
    if not value or len(known) < 2:
        return None
    if value < known[0][0]:
        return BETTER
    values, fractions = zip(*known, strict=True)
    return float(math.exp(np.interp(math.log(value), np.log(values), np.log(fractions))))


def worth(doses: dict, value: float | None, figure: Callable[[dict], float | None] = FIGURES["error (NMAE)"]) -> str:
    """ "1/7.5", "more than 1/4", "-": `worth_dose` for people."""
    dose = worth_dose(doses, value, figure)
    if dose is None:
        return "-"
    if dose == BETTER:
        return f"more than {dose_label(real_scans(doses, figure)[0][1])}"
    return f"1/{1 / dose:.1f}" if 1 / dose < 10 else f"1/{1 / dose:.0f}"
