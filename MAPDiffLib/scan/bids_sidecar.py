"""Units and the factor to SUV from the JSON file that PET2BIDS and dcm2niix put beside a NIfTI.

Names as in the BIDS specification for PET (bids-specification.readthedocs.io, Positron Emission Tomography) with
dcm2niix's PatientWeight. Times are seconds after the sidecar's TimeZero. Without a factor a scan is restored all the
same: the restoration needs no unit.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

from MAPDiffLib.errors import InputError
from MAPDiffLib.scan.dicom_reader import SUV_FACTOR, SUV_REFUSED
from MAPDiffLib.scan.suv import DOSE_BQ_KG, HALF_LIVES_S

# As written, small letters, without spaces: our code for the unit, and Bq/mL (for SUV: 1) in one of it.
UNITS = {
    "bq/ml": ("BQML", 1.0), "bqml": ("BQML", 1.0), "kbq/ml": ("kBq/mL", 1e3), "mbq/ml": ("MBq/mL", 1e6),
    "suv": ("SUVbw", None), "suvbw": ("SUVbw", None), "g/ml": ("SUVbw", None), "gml": ("SUVbw", None),
}  # fmt: skip
BQ = {"bq": 1.0, "kbq": 1e3, "mbq": 1e6, "gbq": 1e9, "uci": 3.7e4, "mci": 3.7e7}
KG = {"kg": 1.0, "g": 1e-3}
LONGEST_DECAY = 10  # half-lives
TEXTS = {"manufacturer": "Manufacturer", "model": "ManufacturersModelName"}

Facts = tuple[str, dict[str, str], tuple[str, ...]]  # units, metadata, warnings


def read_sidecar(scan: Path) -> Facts | None:
    """Units, metadata (with SUV_FACTOR or SUV_REFUSED) and warnings by the sidecar of a NIfTI; None without one."""
    path = scan.with_name(re.sub(r"\.nii(\.gz)?$", "", scan.name, flags=re.IGNORECASE) + ".json")
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        return "unknown", {}, (f"{path.name} beside the scan cannot be read ({error}): units and SUV are not known.",)
    if not isinstance(found, dict) or "Units" not in found:
        return None  # of something else than PET
    written = str(found["Units"])
    units, bq_ml = UNITS.get(written.lower().replace(" ", ""), (re.sub(r"\s+", "", written)[:20] or "unknown", 0.0))
    texts = {name: str(found[key]) for name, key in TEXTS.items() if isinstance(found.get(key), str)}
    try:
        factor = 1.0 if bq_ml is None else _factor(found, written, bq_ml)
    except InputError as error:
        return units, {**texts, SUV_REFUSED: f"SUV: {path.name}: {error}"}, ()
    return units, {**texts, SUV_FACTOR: repr(factor)}, ()


def _factor(found: dict, units: str, bq_ml: float) -> float:
    """g / Bq x the values' unit: weight over the injected activity at the time to which the values are corrected."""
    if not bq_ml:
        raise InputError(f"Units are {units!r}; Bq/mL, kBq/mL or SUV is needed.")
    for key in ("ImageDecayCorrected", "AttenuationCorrection"):
        if str(found.get(key, "")).strip().lower() in ("", "none", "no", "false"):
            raise InputError(f"{key} is {found.get(key, 'missing')}: values without it are no activity concentration.")
    mode = str(found.get("ModeOfAdministration", "bolus")).lower()
    if mode != "bolus":
        raise InputError(f"ModeOfAdministration is {mode}: SUV is defined for a bolus.")
    weight = "PatientWeight" if "PatientWeight" in found else "BodyWeight"
    kg = _number(found, weight, 0.005, 700, _unit(found, "BodyWeightUnit", KG, "kg"))
    bq = _number(found, "InjectedRadioactivity", 0, 1e15, _unit(found, "InjectedRadioactivityUnits", BQ, None))
    if not DOSE_BQ_KG[0] <= bq / kg <= DOSE_BQ_KG[1]:
        raise InputError(f"InjectedRadioactivity is {bq:g} Bq for {kg:g} kg: is its unit right?")
    decay_s = _number(found, "ImageDecayCorrectionTime", -1e9, 1e9) - _number(found, "InjectionStart", -1e9, 1e9)
    half_life_s = _half_life(found)
    if not -half_life_s / 10 <= decay_s <= LONGEST_DECAY * half_life_s:
        raise InputError(
            f"ImageDecayCorrectionTime is {decay_s:g} s after InjectionStart, not within 0 to {LONGEST_DECAY} "
            f"half-lives of {half_life_s:g} s."
        )
    return 1000 * kg / (bq * 2 ** (-decay_s / half_life_s)) * bq_ml


def _half_life(found: dict) -> float:
    """Seconds, by TracerRadionuclide ("F18", "18F", "^18^Fluorine" has its letters apart from its digits)."""
    written = str(found.get("TracerRadionuclide", ""))
    parts = set(re.findall(r"[A-Za-z]+|\d+", written))
    for (element, mass), half_life_s in HALF_LIVES_S.items():
        if parts == {element, mass}:
            return half_life_s
    raise InputError(f"TracerRadionuclide is {written or 'missing'!r}; a name like F18 is needed.")


def _unit(found: dict, key: str, known: dict[str, float], usual: str | None) -> float:
    written = str(found.get(key) or usual or "missing")
    if written.lower() not in known:
        raise InputError(f"{key} is {written}; one of {', '.join(known)} is needed.")
    return known[written.lower()]


def _number(found: dict, key: str, low: float, high: float, unit: float = 1.0) -> float:
    value = found.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise InputError(f"{key} is {'missing' if value is None else value}; a number is needed.")
    if not low <= value * unit <= high:
        raise InputError(f"{key} is {value:g}; {low / unit:g} to {high / unit:g} is needed.")
    return value * unit
