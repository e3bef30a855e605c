"""The UDPET challenge's test set: NIfTI files in Bq/mL with a table beside them."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from MAPDiffLib.errors import InputError
from MAPDiffLib.job import parse_dose
from training.udpet.headers import Header
from training.udpet.subjects import Scan, Subject

NEEDED_COLUMNS = (
    "SubjectID", "DoseReductionFactor", "NiftiFileName", "PatientWeight_kg", "ImageUnits", "ManufacturerModelName",
    "RadiopharmaceuticalName", "TimeFromInjectionToAcquisition_s", "RadionuclideTotalDose_Bq",
    "RadionuclideHalfLife_s", "DecayCorrection",
)  # fmt: skip
UNPAIRED = "unpaired"  # the split of subjects without a full dose: nothing to train on or to judge by


@dataclass(frozen=True)
class Row:
    """One file of the test set."""

    subject: str
    dose: float
    path: Path
    suv_factor: float
    header: Header


def find_table(root: Path) -> Path | None:
    """The CSV in the folder that has the test set's columns; None when there is none. InputError for several."""
    tables = [path for path in sorted(Path(root).glob("*.csv")) if set(NEEDED_COLUMNS) <= set(_columns(path))]
    if len(tables) > 1:
        raise InputError(f"{root} holds {len(tables)} tables of a test set ({', '.join(p.name for p in tables)}): one.")
    return tables[0] if tables else None


def read_table(table: Path) -> list[Row]:
    """The rows of the table. InputError names the line and what is wrong in it, and files that do not fit the table."""
    with table.open(newline="", encoding="utf-8-sig") as file:
        rows = [_row(line, number, table) for number, line in enumerate(csv.DictReader(file), 2)]
    if not rows:
        raise InputError(f"{table} holds no rows: the test set's table is needed, a line a file.")
    _check_files(rows, table)
    return rows


def suv_factor(weight_kg: float, injected_bq: float, half_life_s: float, seconds: float, correction: str) -> float:
    """1000 weight / injected activity at the time the values are corrected to: scan start (START) or injection (ADMIN).

    `seconds` is from injection to scan start. InputError for another correction or impossible numbers.
    """
    if correction not in ("START", "ADMIN"):
        raise InputError(f"decay correction {correction!r}; START or ADMIN is needed")
    if not (weight_kg > 0 and injected_bq > 0 and half_life_s > 0 and seconds >= 0):
        raise InputError(f"weight {weight_kg}, dose {injected_bq}, half-life {half_life_s}, time {seconds}: impossible")
    decayed = 0.5 ** (seconds / half_life_s) if correction == "START" else 1.0
    return 1000 * weight_kg / (injected_bq * decayed)


def table_subjects(table: Path) -> list[Subject]:
    """The subjects of a test set, to be prepared like those of a tree."""
    rows = read_table(table)
    subjects = []
    for name in dict.fromkeys(row.subject for row in rows):
        own = [row for row in rows if row.subject == name]
        scans = {row.dose: Scan(row.path, row.suv_factor) for row in own}
        problem = ("doubled dose", "more than one row for a dose") if len(scans) < len(own) else None
        split = "test" if 1.0 in scans else UNPAIRED
        subjects.append(Subject(name, table.name, scans, split, own[0].header, problem=problem))
    return subjects


def _check_files(rows: list[Row], table: Path) -> None:
    named = {row.path for row in rows}
    if missing := sorted(path.name for path in named if not path.is_file()):
        raise InputError(f"{table} names {len(missing)} files that are not beside it: {', '.join(missing[:5])}.")
    if unnamed := sorted(path.name for path in table.parent.glob("*.nii*") if path not in named):
        raise InputError(f"{len(unnamed)} files beside {table} are in none of its rows: {', '.join(unnamed[:5])}.")


def _row(line: dict[str, str], number: int, table: Path) -> Row:
    try:
        weight_kg, injected_bq, half_life_s, seconds = (
            float(line[name])
            for name in (
                "PatientWeight_kg", "RadionuclideTotalDose_Bq", "RadionuclideHalfLife_s",
                "TimeFromInjectionToAcquisition_s",
            )
        )  # fmt: skip
        if line["ImageUnits"] not in ("BQML", "Bq/mL", "Bq/ml"):
            raise InputError(f"units {line['ImageUnits']!r}; BQML is needed")
        factor = suv_factor(weight_kg, injected_bq, half_life_s, seconds, line["DecayCorrection"])
        dose = _dose(line["DoseReductionFactor"])
    except (InputError, ValueError, TypeError) as error:
        raise InputError(f"{table}, line {number} ({line.get('NiftiFileName')}): {error}.") from None
    header = Header(
        "", line["SubjectID"], line.get("Manufacturer", ""), line["ManufacturerModelName"], weight_kg, injected_bq,
        half_life_s, line["RadiopharmaceuticalName"], "",
    )  # fmt: skip
    return Row(line["SubjectID"], dose, table.parent / line["NiftiFileName"], factor, header)


def _dose(factor: str) -> float:
    """ "100" -> 0.01, "NORMAL" -> 1.0."""
    if factor.strip().upper() in ("NORMAL", "FULL", "1"):
        return 1.0
    return parse_dose(f"1/{factor.strip()}")


def _columns(path: Path) -> list[str]:
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        return next(csv.reader(file), [])
