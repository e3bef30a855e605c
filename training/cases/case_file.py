"""A multi-dose case on disk: a folder with case.json and one NIfTI per dose, simulated or prepared from UDPET data."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from MAPDiffLib.errors import InputError
from MAPDiffLib.scan.volume import Volume, read_volume

CASE_FILE = "case.json"
ALL_DOSES = (0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
NOISE_FREE_FILE = "noise-free.nii.gz"  # the reconstruction of the expected counts, which simulated cases have


def read_facts(case: Path) -> dict:
    """The content of a case's case.json."""
    return json.loads((case / CASE_FILE).read_text(encoding="utf-8"))


def derived_doses(case: Path) -> tuple[float, ...]:
    """Doses that were not measured but computed from their neighbours: good to train on, never to judge by."""
    return tuple(read_facts(case).get("derived_doses", ()))


def dose_file(dose: float) -> str:
    """0.05 -> "dose-0.050.nii.gz"."""
    return f"dose-{dose:.3f}.nii.gz"


def find_cases(folder: Path) -> list[Path]:
    """The case folders below `folder`, sorted. InputError when there are none."""
    found = (path.parent for path in Path(folder).glob("**/case.json"))
    cases = sorted(case for case in found if not case.name.startswith("."))  # a hidden one is still being made
    if not cases:
        raise InputError(f"{folder}: no case.json below it; make cases with `mapdiff-train simulate` first")
    return cases


def read_dose(case: Path, dose: float) -> Volume:
    """The scan of one dose of a case, in SUV."""
    return read_volume(case / dose_file(dose))


def read_noise_free(case: Path) -> Volume | None:
    """What every dose of a case would be without noise, in SUV; None where nobody can know."""
    path = case / NOISE_FREE_FILE
    return read_volume(path) if path.is_file() else None


def check_doses(cases: Iterable[Path], doses: Iterable[float]) -> None:
    """InputError, naming the first case that lacks one of these doses and all that it lacks."""
    for case in cases:
        if missing := [dose_file(dose) for dose in sorted(doses) if not (case / dose_file(dose)).is_file()]:
            raise InputError(
                f"{case}: no {', '.join(missing)}, which are needed here; make the case again with all doses, "
                "or leave it out"
            )
