"""When was injected and to when the values are corrected: the seconds between them that decay the dose.

Clock times in a header are local, of a day that may be missing and of a time zone that may be said elsewhere; an
anonymiser may have put midnight in their place. Where that leaves a choice, there is no answer.
"""

from __future__ import annotations

import math
from datetime import date, datetime, timedelta

from MAPDiffLib.errors import InputError
from MAPDiffLib.scan.suv_header import GE_SCAN_DATETIME, Dataset, number, private_text

SAME_TIME_S = 1.0  # some scanners round the series time to whole seconds, and not the acquisition time
SAME_CLOCK_S = 60.0
LONGEST_DECAY = 5  # half-lives from injection to scan, 9 h of F-18: more is a wrong date or a wrong clock
DAY_S = 86400.0


def decay_seconds(first: Dataset, item: Dataset, half_life_s: float) -> float:
    """Seconds from injection to the time that Decay Correction START corrects to.

    `first` is the header of the slice acquired first, `item` its radiopharmaceutical. InputError where the times are
    missing, in doubt or too far apart.
    """
    scan = _scan_start(first, half_life_s)
    injected = _injection(first, item, scan, half_life_s)
    decay_s = (scan - injected).total_seconds()
    if not 0 <= decay_s <= LONGEST_DECAY * half_life_s:
        raise InputError(
            f"SUV: injected {injected:%Y-%m-%d %H:%M:%S}, scanned {scan:%Y-%m-%d %H:%M:%S}: {decay_s / 3600:.1f} h, "
            f"not within 0 to {LONGEST_DECAY} half-lives of {half_life_s:g} s. Were the dates shifted apart, or is a "
            "clock off?"
        )
    return decay_s


def _injection(first: Dataset, item: Dataset, scan: datetime, half_life_s: float) -> datetime:
    """By the date and time of the injection, else by its time of day alone."""
    clock = item.get("RadiopharmaceuticalStartTime")
    moment = item.get("RadiopharmaceuticalStartDateTime")
    if not clock and not moment:
        raise InputError("SUV: the time of injection is missing (Radiopharmaceutical Start Time or DateTime).")
    by_clock = _at(scan.date(), clock, "Radiopharmaceutical Start Time") if clock else None
    if not moment:
        return _likely_day(by_clock, scan, half_life_s)
    injected, comparable = _local(first, moment, "Radiopharmaceutical Start DateTime")
    if by_clock is not None:
        apart = (by_clock - injected).total_seconds() % DAY_S
        if min(apart, DAY_S - apart) > SAME_CLOCK_S:
            raise InputError(
                f"SUV: Radiopharmaceutical Start Time ({clock}) and DateTime ({moment}) give different times of day."
            )
    elif not comparable:
        raise InputError(
            f"SUV: Radiopharmaceutical Start DateTime ({moment}) has an offset from UTC and the header says none for "
            "its other times (Timezone Offset From UTC, 0008,0201): they cannot be compared."
        )
    return injected


def _likely_day(injected: datetime, scan: datetime, half_life_s: float) -> datetime:
    """The last time before the scan that the clock showed this, where the day before would be too long ago."""
    if LONGEST_DECAY * half_life_s >= DAY_S:
        raise InputError(
            "SUV: the header has a time of day for the injection and no date (Radiopharmaceutical Start DateTime); "
            f"with a half-life of {half_life_s / 3600:.1f} h it may have been days ago."
        )
    return injected - timedelta(days=1) if injected > scan else injected


def _local(first: Dataset, value: object, what: str) -> tuple[datetime, bool]:
    """A date and time in the time zone of the header's other times; and whether that is known to be theirs."""
    written, offset = _moment(value, what)
    local = _offset_of(first)
    if offset is None or local is None:
        return written, offset is None
    return written - offset + local, True


def _offset_of(first: Dataset) -> timedelta | None:
    text = str(first.get("TimezoneOffsetFromUTC") or "").strip(" \0")
    try:
        return datetime.strptime(text, "%z").utcoffset()
    except ValueError:
        return None


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
    reference_s = number(first, "FrameReferenceTime", 0, 1e9, "ms") / 1000
    if reference_s < SAME_TIME_S:
        return 0.0
    duration_s = number(first, "ActualFrameDuration", 1, 1e9, "ms") / 1000
    decay = math.log(2) / half_life_s
    return reference_s - math.log(decay * duration_s / (1 - math.exp(-decay * duration_s))) / decay


def _ge_scan_start(first: Dataset) -> datetime | None:
    value = private_text(first, GE_SCAN_DATETIME)
    return _local(first, value, "GE's scan date and time (0009,100D)")[0] if value else None


def _date_time(data: Dataset, day: str, clock: str) -> datetime:
    from pydicom.valuerep import DA

    for name in (day, clock):
        if not data.get(name):
            raise InputError(f"SUV: {name} is missing.")
    return _at(_parsed(DA, data.get(day), day), data.get(clock), clock)


def _at(day: date, clock: object, what: str) -> datetime:
    from pydicom.valuerep import TM

    parsed = _parsed(TM, clock, what)
    _check_clock(str(clock).strip(" \0").replace(":", ""), what)
    return datetime.combine(date(day.year, day.month, day.day), parsed)


def _moment(value: object, what: str) -> tuple[datetime, timedelta | None]:
    """Date and time as written, and the offset from UTC written behind it."""
    from pydicom.valuerep import DT

    parsed = _parsed(DT, value, what)
    _check_clock(str(value).strip(" \0").partition("+")[0].partition("-")[0][8:], what)
    written = datetime(*parsed.timetuple()[:6], parsed.microsecond)
    return written, parsed.utcoffset()


def _check_clock(digits: str, what: str) -> None:
    """InputError for what is no time of day: hours alone, or the midnight that stands for a time taken away."""
    if len(digits) < 4:
        raise InputError(f"SUV: {what} has no minutes ({digits or 'a date alone'}).")
    if not digits.strip("0."):
        raise InputError(f"SUV: {what} is midnight to the second: a time that an anonymiser took away?")


def _parsed(kind: type, value: object, what: str):
    try:
        return kind(str(value).strip(" \0"))
    except ValueError as error:
        raise InputError(f"SUV: {what} is {str(value)!r}, which cannot be read ({error}).") from None
