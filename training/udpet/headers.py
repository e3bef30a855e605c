"""What a UDPET series says of itself in its DICOM header, and whether that can be true."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from MAPDiffLib.errors import InputError
from MAPDiffLib.scan.suv import HALF_LIVES_S

FDG = re.compile(r"FDG|fluoro-?2?-?deoxy-?(?:D-)?glucose", re.IGNORECASE)
NUCLIDES = {
    "18F": re.compile(r"18\W*F(?![a-z])|(?<![a-z])F\W*18|fluorine|FDG|fluoro-?deoxy|C-111A1", re.IGNORECASE),
    "68Ga": re.compile(r"68\W*Ga|(?<![a-z])Ga\W*68|gallium|DOTA(?!.*18F)|C-131A3", re.IGNORECASE),
    "11C": re.compile(r"11\W*C(?![a-z])|(?<![a-z])C\W*11(?!\d)|carbon", re.IGNORECASE),
}


class Excluded(InputError):
    """A subject that is left out: `kind` is one or two words for the summary, the message says what was seen."""

    def __init__(self, kind: str, message: str):
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class Header:
    """Of one series; texts are "" and numbers 0 where the header lacks them. The two identifiers are never stored."""

    series_uid: str
    patient_id: str
    manufacturer: str
    model: str
    weight_kg: float
    injected_bq: float
    half_life_s: float
    tracer: str
    nuclide: str


def read_header(folder: Path) -> Header:
    """The header of one slice of the series in the folder. Excluded ("unreadable") when there is none."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    for path in _some_files(folder):
        try:
            data = pydicom.dcmread(path, stop_before_pixels=True)
        except (InvalidDicomError, EOFError):
            continue
        if "SeriesInstanceUID" in data:
            return _header(data)
    raise Excluded("unreadable", f"{folder} holds no DICOM slice")


def check_tracer(header: Header) -> None:
    """Excluded ("mislabelled") when name, nuclide and half-life disagree, ("another tracer") when it is not FDG."""
    said = {
        f"the tracer {header.tracer!r}": _nuclide(header.tracer),
        f"the nuclide {header.nuclide!r}": _nuclide(header.nuclide),
        f"the half-life {header.half_life_s:g} s": _nuclide_of_half_life(header.half_life_s),
    }
    known = {what: nuclide for what, nuclide in said.items() if nuclide}
    if len(set(known.values())) > 1:
        raise Excluded("mislabelled", "; ".join(f"{what} means {nuclide}" for what, nuclide in known.items()))
    if not FDG.search(header.tracer):
        raise Excluded("another tracer", f"the tracer is {header.tracer or header.nuclide or 'not stated'}, not FDG")


def check_same_scan(headers: dict[float, Header]) -> None:
    """Excluded ("mislabelled") when the doses are of different patients or injections, or one series serves two."""
    for name in ("patient_id", "manufacturer", "model", "weight_kg", "injected_bq", "half_life_s", "tracer"):
        seen = {getattr(header, name) for header in headers.values()}
        if len(seen) > 1:
            shown = "" if name == "patient_id" else ": " + ", ".join(sorted(map(str, seen)))
            raise Excluded("mislabelled", f"{name} differs between the doses{shown}")
    uids: dict[str, float] = {}
    for dose, header in headers.items():
        if header.series_uid in uids:
            other = uids[header.series_uid]
            raise Excluded("mislabelled", f"1/{1 / dose:g} and 1/{1 / other:g} dose are one and the same series")
        uids[header.series_uid] = dose


def _nuclide(text: str) -> str:
    """The one nuclide that a text names, "" for none or for several."""
    found = [nuclide for nuclide, pattern in NUCLIDES.items() if pattern.search(text)]
    return found[0] if len(found) == 1 else ""


def _nuclide_of_half_life(half_life_s: float) -> str:
    for (element, mass), expected_s in HALF_LIVES_S.items():
        if abs(half_life_s / expected_s - 1) < 0.02:
            return f"{mass}{element}"
    return ""


def _some_files(folder: Path, limit: int = 20) -> list[Path]:
    """The first files of the folder, by name: enough to find one slice among odd files."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.is_file() and not entry.name.startswith("."))
    return [folder / name for name in names[:limit]]


def _header(data) -> Header:
    item = (data.get("RadiopharmaceuticalInformationSequence") or [{}])[0]
    nuclide = (item.get("RadionuclideCodeSequence") or [{}])[0]
    named = (item.get("RadiopharmaceuticalCodeSequence") or [{}])[0]
    return Header(
        series_uid=str(data.SeriesInstanceUID),
        patient_id=str(data.get("PatientID", "")),
        manufacturer=str(data.get("Manufacturer", "")),
        model=str(data.get("ManufacturerModelName", "")),
        weight_kg=_number(data.get("PatientWeight")),
        injected_bq=_number(item.get("RadionuclideTotalDose")),
        half_life_s=_number(item.get("RadionuclideHalfLife")),
        tracer=str(item.get("Radiopharmaceutical") or named.get("CodeMeaning") or ""),
        nuclide=str(nuclide.get("CodeMeaning") or nuclide.get("CodeValue") or ""),
    )


def _number(value) -> float:
    try:
        return float(value or 0)
    except (TypeError, ValueError):
        return 0.0
