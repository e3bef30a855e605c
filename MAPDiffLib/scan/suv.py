"""The factor to body-weight SUV from a PET header, by the vendor-neutral rules of QIBA; a refusal where it is in doubt.

Source: QIBA, "SUV vendor-neutral pseudo-code" (qibawiki.rsna.org, 2018), and DICOM PS3.3 C.8.9.1. Without a factor a
scan is restored all the same: the restoration needs no unit.
"""

from __future__ import annotations

import re

from MAPDiffLib.errors import InputError
from MAPDiffLib.scan.suv_header import PHILIPS_BQML_FACTOR, PHILIPS_SUV_FACTOR, Dataset, number, private_number
from MAPDiffLib.scan.suv_times import decay_seconds

# PET nuclides, and two of phantoms.
HALF_LIVES_S = {
    ("F", "18"): 6586.2, ("Ga", "68"): 4057.7, ("C", "11"): 1221.8, ("N", "13"): 597.9, ("O", "15"): 122.2,
    ("Rb", "82"): 76.4, ("Cu", "64"): 45723.0, ("Zr", "89"): 282281.0, ("I", "124"): 360806.0, ("Y", "90"): 230760.0,
    ("Y", "86"): 53064.0, ("Cu", "62"): 580.4, ("Cu", "61"): 11999.0, ("Sc", "44"): 14292.0, ("Sc", "43"): 14008.0,
    ("Br", "76"): 58320.0, ("Ga", "66"): 34164.0, ("Tc", "94m"): 3120.0, ("Mn", "52"): 483062.0,
    ("Co", "55"): 63108.0, ("Tb", "152"): 63000.0, ("As", "72"): 93600.0, ("Ge", "68"): 23410000.0,
    ("Na", "22"): 82110000.0,
}  # fmt: skip
LONG_NAMES = {
    "fluorine": "F", "gallium": "Ga", "carbon": "C", "nitrogen": "N", "oxygen": "O", "rubidium": "Rb", "copper": "Cu",
    "zirconium": "Zr", "iodine": "I", "yttrium": "Y", "scandium": "Sc", "bromine": "Br", "manganese": "Mn",
    "cobalt": "Co", "germanium": "Ge", "sodium": "Na",
}  # fmt: skip
SAME_HALF_LIFE = 0.02
# Bq per kg of body weight: a dose in kBq lies below it, the lowest of total-body scanners and a mouse's within.
DOSE_BQ_KG = (5e4, 3e9)


def suv_factor(first: Dataset) -> float:
    """What the series' values (rescaled, in its own units) are multiplied by to give SUV in g/ml, by body weight.

    `first` is the header of the slice that was acquired first. InputError for what is missing, impossible or does not
    agree: the message says which attribute.
    """
    units = first.get("Units") or "no"
    if units == "GML":
        return _already_suv(first)
    if units == "CNTS":
        if factor := private_number(first, PHILIPS_SUV_FACTOR):
            return factor
        if factor := private_number(first, PHILIPS_BQML_FACTOR):
            return factor * _factor_of_activity(first)
        raise InputError("SUV: the values are counts (CNTS) without Philips's factors (7053,1000) and (7053,1009).")
    if units == "BQML":
        return _factor_of_activity(first)
    raise InputError(f"SUV: the series has {units} units; BQML, GML, or CNTS with Philips's factors is needed.")


def _already_suv(first: Dataset) -> float:
    kind = first.get("SUVType") or "BW"
    if kind != "BW":
        raise InputError(f"SUV: the values are SUV by {kind}, not by body weight (SUV Type, 0054,1006).")
    return 1.0


def _factor_of_activity(first: Dataset) -> float:
    """weight in g / injected activity in Bq at the time to which the values are corrected."""
    weight_kg = number(first, "PatientWeight", 0.005, 700, "kg")
    item = (first.get("RadiopharmaceuticalInformationSequence") or [None])[0]
    if item is None:
        raise InputError("SUV: the series has no Radiopharmaceutical Information Sequence (0054,0016).")
    dose_bq = _dose(item, weight_kg)
    half_life_s = _half_life(item)
    corrections = first.get("CorrectedImage") or []
    corrections = {corrections} if isinstance(corrections, str) else set(corrections)
    if not ("ATTN" in corrections and corrections & {"DECY", "DECAY"}):
        raise InputError(
            f"SUV: Corrected Image (0028,0051) is {sorted(corrections)}; ATTN and DECY are needed: values without "
            "attenuation and decay correction are no activity concentration."
        )
    correction = first.get("DecayCorrection") or "missing"
    if correction == "ADMIN":
        return 1000 * weight_kg / dose_bq
    if correction != "START":
        raise InputError(
            f"SUV: Decay Correction (0054,1102) is {correction}; START or ADMIN is needed: otherwise each bed position "
            "has a factor of its own."
        )
    decay_s = decay_seconds(first, item, half_life_s)
    return 1000 * weight_kg / (dose_bq * 2 ** (-decay_s / half_life_s))


def _dose(item: Dataset, weight_kg: float) -> float:
    """Injected activity in Bq, of an order that somebody of this weight may get."""
    dose_bq = number(item, "RadionuclideTotalDose", 1e5, 1e12, "Bq (has it been written in MBq?)")
    low, high = (limit * weight_kg for limit in DOSE_BQ_KG)
    if not low <= dose_bq <= high:
        raise InputError(
            f"SUV: RadionuclideTotalDose is {dose_bq:g}; for {weight_kg:g} kg, {low:g} to {high:g} Bq is expected. Is "
            "one of the two in another unit (kBq, lb)?"
        )
    return dose_bq


def _half_life(item: Dataset) -> float:
    """Seconds: those of the nuclide that the header names, or of any where it names none."""
    half_life_s = number(item, "RadionuclideHalfLife", 1, 1e8, "s")
    codes = item.get("RadionuclideCodeSequence") or []
    name = str(codes[0].get("CodeMeaning", "")) if codes else ""
    parts = set(re.findall(r"[A-Za-z]+|\d+m?", name))  # of "18F", "^18^Fluorine", "F-18"
    for (element, mass), expected_s in HALF_LIVES_S.items():
        named = mass in parts and any(part == element or LONG_NAMES.get(part.lower()) == element for part in parts)
        if named and not _is_close(half_life_s, expected_s):
            raise InputError(
                f"SUV: the header names {name} and gives a half-life of {half_life_s:g} s, where {expected_s:g} s is "
                f"that of {mass}{element}: one of the two is wrong."
            )
    if not parts and not any(_is_close(half_life_s, known_s) for known_s in HALF_LIVES_S.values()):
        raise InputError(
            f"SUV: the half-life of {half_life_s:g} s is that of no PET nuclide, and the header names none. Has it "
            "been written in minutes?"
        )
    return half_life_s


def _is_close(half_life_s: float, expected_s: float) -> bool:
    return abs(half_life_s / expected_s - 1) <= SAME_HALF_LIFE
