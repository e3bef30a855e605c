"""Which scans a batch restores: those below a folder, or those that a list names. Standard library only."""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from MAPDiffLib.errors import InputError
from MAPDiffLib.job import parse_dose, parse_doses

VOLUME_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
DICOM_SUFFIXES = (".dcm", ".ima")
COLUMNS = {"input", "name", "input_dose", "doses"}


@dataclass(frozen=True)
class Item:
    """One scan of a batch; its results go into a folder called `name`. None leaves a choice to the batch's options."""

    name: str
    input: str
    input_dose: float | None = None
    doses: tuple[float, ...] | None = None


def find_items(source: Path, output: Path) -> list[Item]:
    """The scans in `source`: a folder, a CSV with an `input` column, or a text file with a path a line.

    What lies below `output` is a result and no scan. InputError when there is none, or the list cannot be understood.
    """
    if source.is_dir():
        items = _in_folder(source, output)
    elif source.is_file():
        items = _in_table(source) if source.suffix.lower() == ".csv" else _in_list(source)
    else:
        raise InputError(f"{source} does not exist: give a folder of scans, or a list of them (text or CSV).")
    if not items:
        raise InputError(f"{source} holds no scans: NIfTI, NRRD, MetaImage or folders of DICOM slices are looked for.")
    repeated = [name for name, count in Counter(item.name for item in items).items() if count > 1]
    if repeated:
        raise InputError(f"{source}: several scans would be called {repeated[0]!r}: give them names in a CSV's column.")
    return items


def _in_folder(source: Path, output: Path) -> list[Item]:
    found = []
    for folder, subfolders, files in os.walk(source):
        here = Path(folder)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith(".") and here / name != output)
        volumes = [name for name in sorted(files) if _is_volume(name)]
        found += [here / name for name in volumes]
        if not volumes and any(_is_slice(here / name) for name in sorted(files)[:20]):
            found.append(here)
    stems = Counter(_stem(path.relative_to(source).as_posix()) for path in found)
    items = []
    for path in found:
        relative = path.relative_to(source).as_posix()
        unique = stems[_stem(relative)] == 1
        items.append(Item(_name(_stem(relative) if unique else relative, source), str(path)))
    return items


def _in_list(path: Path) -> list[Item]:
    lines = [line.strip() for line in _text(path).splitlines()]
    scans = [line for line in lines if line and not line.startswith("#")]
    return [Item(_name(_stem(scan), path), str(path.parent / scan)) for scan in scans]


def _in_table(path: Path) -> list[Item]:
    reader = csv.DictReader(_text(path).splitlines())
    columns = set(reader.fieldnames or ())
    if "input" not in columns or not columns <= COLUMNS:
        raise InputError(f"{path} has the columns {sorted(columns)}; input is needed, of {sorted(COLUMNS)}.")
    items = []
    for number, row in enumerate(reader, 2):
        try:
            items.append(_item(row, path))
        except InputError as error:
            raise InputError(f"{path}, line {number}: {error}") from None
    return items


def _item(row: dict[str, str | None], table: Path) -> Item:
    scan = (row["input"] or "").strip()
    if not scan:
        raise InputError("the input is empty")
    return Item(
        _name(row.get("name") or _stem(scan), table),
        str(table.parent / scan),
        parse_dose(row["input_dose"]) if row.get("input_dose") else None,
        parse_doses(row["doses"]) if row.get("doses") else None,
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as a list of scans ({error}): text in UTF-8 is needed.") from None


def _name(text: str, source: Path) -> str:
    """A folder name: no separators, nothing hidden."""
    name = re.sub(r"[^\w.-]+", "_", text.replace("\\", "/").strip("/.").replace("/", "__"))
    return name or source.stem


def _is_volume(name: str) -> bool:
    return name.lower().endswith(VOLUME_SUFFIXES) and not name.startswith(".")


def _stem(text: str) -> str:
    for suffix in VOLUME_SUFFIXES:
        if text.lower().endswith(suffix):
            return text[: -len(suffix)]
    return text


def _is_slice(path: Path) -> bool:
    if path.name.startswith(".") or path.name.upper() == "DICOMDIR":
        return False
    if path.suffix.lower() in DICOM_SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False
