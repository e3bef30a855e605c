"""The factor to body-weight SUV from a PET header, by the vendor-neutral rules of QIBA; a refusal where it is in doubt.

Source: QIBA, "SUV vendor-neutral pseudo-code" (qibawiki.rsna.org, 2018), and DICOM PS3.3 C.8.9.1. Without a factor a
scan is restored all the same: the restoration needs no unit.
"""

from __future__ import annotations

import math
import re
from datetime import date, datetime, timedelta
from typing import Any

from MAPDiffLib.errors import InputError

Dataset = Any  # a pydicom.Dataset: pydicom is an extra, and imported late
GE, PHILIPS = "GEMS_PETD_01", "Philips PET Private Group"
GE_SCAN_DATETIME = (0x0009, GE, 0x0D)
PHILIPS_SUV_FACTOR, PHILIPS_BQML_FACTOR = (0x7053, PHILIPS, 0x00), (0x7053, PHILIPS, 0x09)
HALF_LIVES_S = {
    ("F", "18"): 6586.2,
    ("Ga", "68"): 4057.7,
    ("C", "11"): 1221.8,
    ("N", "13"): 597.9,
    ("O", "15"): 122.2,
    ("Cu", "64"): 45723.0,
    ("Zr", "89"): 282281.0,
}
LONG_NAMES = {
    "fluorine": "F", "gallium": "Ga", "carbon": "C", "nitrogen": "N", "oxygen": "O", "copper": "Cu", "zirconium": "Zr",
}  # fmt: skip
SAME_TIME_S = 1.0  # some scanners round the series time to whole seconds, and not the acquisition time
LONGEST_DECAY = 10  # half-lives from injection to scan: more is a wrong date or a wrong clock


def suv_factor(first: Dataset) -> float:
    """What the series' values (rescaled, in its own units) are multiplied by to give SUV in g/ml, by body weight.

    `first` is the header of the slice that was acquired first. InputError for what is missing, impossible or does not
    agree: the message says which attribute.
    """
    units = first.get("Units") or "no"
    if units == "GML":
        return _already_suv(first)
    if units == "CNTS":
        if factor := _private_number(first, PHILIPS_SUV_FACTOR):
            return factor
        if factor := _private_number(first, PHILIPS_BQML_FACTOR):
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
    weight_kg = _number(first, "PatientWeight", 0.1, 700, "kg")
    item = (first.get("RadiopharmaceuticalInformationSequence") or [None])[0]
    if item is None:
        raise InputError("SUV: the series has no Radiopharmaceutical Information Sequence (0054,0016).")
    dose_bq = _number(item, "RadionuclideTotalDose", 1e5, 1e12, "Bq (has it been written in MBq?)")
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
    decay_s = _decay_seconds(item, _scan_start(first, half_life_s), half_life_s)
    return 1000 * weight_kg / (dose_bq * 2 ** (-decay_s / half_life_s))


def _half_life(item: Dataset) -> float:
    """Seconds, and those of the nuclide that the header names, where it names one."""
    half_life_s = _number(item, "RadionuclideHalfLife", 1, 1e8, "s")
    codes = item.get("RadionuclideCodeSequence") or []
    name = str(codes[0].get("CodeMeaning", "")) if codes else ""
    parts = set(re.findall(r"[A-Za-z]+|\d+", name))  # of "18F", "^18^Fluorine", "F-18"
    for (element, mass), expected_s in HALF_LIVES_S.items():
        named = mass in parts and any(part == element or LONG_NAMES.get(part.lower()) == element for part in parts)
        if named and abs(half_life_s / expected_s - 1) > 0.02:
            raise InputError(
                f"SUV: the header names {name} and gives a half-life of {half_life_s:g} s, where {expected_s:g} s is "
                f"that of {mass}{element}: one of the two is wrong."
            )
    return half_life_s


def _scan_start(first: Dataset, half_life_s: float) -> datetime:
    """The time to which START corrects: the series time, or what is left of it in a series processed later."""
    series = _date_time(first, "SeriesDate", "SeriesTime")
    acquired = _date_time(first, "AcquisitionDate", "AcquisitionTime")
    if series <= acquired + timedelta(seconds=SAME_TIME_S):
        return series
    scanned = _ge_scan_start(first)
    if scanned is not None and timedelta(0) <= acquired - scanned + timedelta(seconds=SAME_TIME_S) < timedelta(days=1):
        return scanned
    return acquired - timedelta(seconds=_frame_offset(first, half_life_s))


def _frame_offset(first: Dataset, half_life_s: float) -> float:
    """Seconds from the scan's start to the start of this bed position, by its Frame Reference Time.

    That time points at the frame's average count rate; in series of CPS and GE at its start, 0 for the first bed.
    """
    reference_s = _number(first, "FrameReferenceTime", 0, 1e9, "ms") / 1000
    if reference_s < SAME_TIME_S:
        return 0.0
    duration_s = _number(first, "ActualFrameDuration", 1, 1e9, "ms") / 1000
    decay = math.log(2) / half_life_s
    return reference_s - math.log(decay * duration_s / (1 - math.exp(-decay * duration_s))) / decay


def _decay_seconds(item: Dataset, scan: datetime, half_life_s: float) -> float:
    """Seconds from injection to scan. A time of day without a date, later than the scan's, is of the day before."""
    from pydicom.valuerep import DT

    clock, moment = item.get("RadiopharmaceuticalStartTime"), item.get("RadiopharmaceuticalStartDateTime")
    if not clock and not moment:
        raise InputError("SUV: the time of injection is missing (Radiopharmaceutical Start Time or DateTime).")
    injected = _at(scan.date(), clock) if clock else None
    if moment:
        injected_then = _parsed(DT, moment, "Radiopharmaceutical Start DateTime").replace(tzinfo=None)
        injected_then = datetime(*injected_then.timetuple()[:6], injected_then.microsecond)
        if injected and abs((injected - injected_then).total_seconds() % 86400 - 43200) < 43200 - 60:
            raise InputError(
                f"SUV: Radiopharmaceutical Start Time ({clock}) and DateTime ({moment}) give different times of day."
            )
        injected = injected_then
    elif injected > scan:
        injected -= timedelta(days=1)
    decay_s = (scan - injected).total_seconds()
    if not 0 <= decay_s <= LONGEST_DECAY * half_life_s:
        raise InputError(
            f"SUV: injected {injected:%Y-%m-%d %H:%M:%S}, scanned {scan:%Y-%m-%d %H:%M:%S}: {decay_s / 3600:.1f} h, "
            f"not within 0 to {LONGEST_DECAY} half-lives of {half_life_s:g} s. Were the dates shifted apart, or is a "
            "clock off?"
        )
    return decay_s


def _ge_scan_start(first: Dataset) -> datetime | None:
    from pydicom.valuerep import DT

    value = _private(first, GE_SCAN_DATETIME)
    if not value:
        return None
    moment = _parsed(DT, value, "GE's scan date and time (0009,100D)")
    return datetime(*moment.timetuple()[:6], moment.microsecond)


def _date_time(data: Dataset, day: str, clock: str) -> datetime:
    from pydicom.valuerep import DA

    for name in (day, clock):
        if not data.get(name):
            raise InputError(f"SUV: {name} is missing.")
    return _at(_parsed(DA, data.get(day), day), data.get(clock))


def _at(day: date, clock: object) -> datetime:
    from pydicom.valuerep import TM

    return datetime.combine(date(day.year, day.month, day.day), _parsed(TM, clock, "a time of day"))


def _parsed(kind: type, value: object, what: str):
    try:
        return kind(str(value).strip(" \0"))
    except ValueError as error:
        raise InputError(f"SUV: {what} is {str(value)!r}, which cannot be read ({error}).") from None


def private_element(data: Dataset, place: tuple[int, str, int]) -> Any:
    """The element at a group, private creator and offset, as a pydicom.DataElement; None where it is not there."""
    group, creator, element = place
    try:
        return data.private_block(group, creator)[element]
    except KeyError:
        return None


def _private(data: Dataset, place: tuple[int, str, int]) -> str:
    """The text of a private element, "" where it is not there."""
    found = private_element(data, place)
    if found is None:
        return ""
    value = found.value
    return value.decode("ascii", "replace").strip(" \0") if isinstance(value, bytes) else str(value).strip()


def _private_number(data: Dataset, place: tuple[int, str, int]) -> float:
    """A private factor; 0.0 where it is missing or no positive number, as Philips writes one that it does not know."""
    try:
        value = float(_private(data, place) or 0)
    except ValueError:
        return 0.0
    return value if math.isfinite(value) and value > 0 else 0.0


def _number(data: Dataset, name: str, low: float, high: float, unit: str) -> float:
    value = data.get(name)
    if value is None or value == "":
        raise InputError(f"SUV: {name} is missing.")
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not low <= number <= high:
        raise InputError(f"SUV: {name} is {value}; {low:g} to {high:g} {unit} is needed.")
    return number
