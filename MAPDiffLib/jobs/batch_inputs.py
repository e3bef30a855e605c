"""Which scans a batch restores: those below a folder, or those that a list names. Standard library only."""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from MAPDiffLib.errors import InputError
from MAPDiffLib.job import REPORT_FILE, is_result_file, own_extension, parse_dose, parse_doses

VOLUME_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
DICOM_SUFFIXES = (".dcm", ".ima")
RESULT_MARKS = frozenset((REPORT_FILE, "failure.json", "summary.csv"))
COLUMNS = {"input", "name", "input_dose", "doses"}


@dataclass(frozen=True)
class Item:
    """One scan of a batch; its results go into a folder called `name`. None leaves a choice to the batch's options."""

    name: str
    input: str
    input_dose: float | None = None
    doses: tuple[float, ...] | None = None


@dataclass(frozen=True)
class PassedOver:
    """A file or folder in a folder of scans that is none, and why."""

    path: str
    reason: str


def find_items(source: Path, output: Path) -> tuple[list[Item], list[PassedOver]]:
    """The scans in `source` (a folder, a CSV with an `input` column, or a text file with a path a line), and the rest.

    What lies below `output` is a result and no scan. InputError when there is none, or the list cannot be understood.
    """
    passed_over: list[PassedOver] = []
    if source.is_dir():
        items, passed_over = _in_folder(source, output)
    elif source.is_file():
        items = _in_table(source) if source.suffix.lower() == ".csv" else _in_list(source)
    else:
        raise InputError(f"{source} does not exist: give a folder of scans, or a list of them (text or CSV).")
    if not items:
        rest = "; ".join(f"{one.path}: {one.reason}" for one in passed_over[:3])
        raise InputError(
            f"{source} holds no scans: NIfTI, NRRD, MetaImage or folders of DICOM slices are looked for."
            + (f" Passed over: {rest}" if rest else "")
        )
    repeated = [name for name, count in Counter(item.name for item in items).items() if count > 1]
    if repeated:
        raise InputError(f"{source}: several scans would be called {repeated[0]!r}: give them names in a CSV's column.")
    return items, passed_over


def _in_folder(source: Path, output: Path) -> tuple[list[Item], list[PassedOver]]:
    found: list[Path] = []
    passed_over: list[PassedOver] = []
    for here, folders, files in _walk(source, passed_over):
        kept, results = [], set(map(str.lower, files)) & RESULT_MARKS
        for name in sorted(folders):
            reason = _no_folder_of_scans(here / name, output, bool(results))
            if reason is None:
                kept.append(name)
            elif reason:
                passed_over.append(PassedOver(str(here / name), reason))
        folders[:] = kept
        volumes, rest = _sorted_out(here, files, bool(results))
        found += [here / name for name in volumes]
        if any(_is_slice(here / name) for name in rest["others"]):  # each is tried: a slice may have any name
            found.append(here)
            del rest["others"]
        if reason := _counted(rest):
            passed_over.append(PassedOver(str(here), reason))
    stems = Counter(_stem(path.relative_to(source).as_posix()) for path in found)
    items = []
    for path in found:
        relative = path.relative_to(source).as_posix()
        unique = stems[_stem(relative)] == 1
        items.append(Item(_name(_stem(relative) if unique else relative, source), str(path)))
    return items, passed_over


def _walk(source: Path, passed_over: list[PassedOver]) -> Iterator[tuple[Path, list[str], list[str]]]:
    """os.walk through links too, but into no folder twice; what cannot be listed is said."""

    def note(error: OSError) -> None:
        passed_over.append(PassedOver(str(error.filename), f"cannot be listed ({error.strerror})"))

    seen: set[str] = set()
    for folder, folders, files in os.walk(source, onerror=note, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            passed_over.append(PassedOver(folder, f"is {real} once more, by a link"))
            folders.clear()
            continue
        seen.add(real)
        yield Path(folder), folders, files


def _no_folder_of_scans(folder: Path, output: Path, beside_results: bool) -> str | None:
    """Why a folder is not searched, "" for one that needs no word (this batch's own results); None for one that is."""
    if os.path.realpath(folder) == os.path.realpath(output):
        return ""
    if beside_results and is_result_file(folder.name, ""):
        return "a result of an earlier restoration"
    return "hidden" if folder.name.startswith(".") else None


def _sorted_out(here: Path, files: list[str], results: bool) -> tuple[list[str], dict[str, list[str]]]:
    """The names of volume files, and those of the rest by what they are."""
    volumes, rest = [], {kind: [] for kind in ("results", "clutter", "hidden", "others")}
    for name in sorted(files):
        if is_clutter(name):
            rest["clutter"].append(name)
        elif name.startswith("."):
            rest["hidden"].append(name)
        elif results and (name.lower() in RESULT_MARKS or is_result_file(name, own_extension(name))):
            rest["results"].append(name)
        elif name.lower().endswith(VOLUME_SUFFIXES):
            volumes.append(name)
        else:
            rest["others"].append(name)
    stems = {_stem(name) for name in volumes}  # a header's own voxels and the text beside a scan are parts of it
    rest["others"] = [name for name in rest["others"] if name.partition(".")[0] not in stems]
    return volumes, rest


def _counted(rest: dict[str, list[str]]) -> str:
    """ "3 other files (a.txt, b.txt, ...), 2 files of macOS or Windows (._a, ...)"; "" for nothing."""
    words = {
        "results": "results of an earlier restoration", "clutter": "files of macOS or Windows",
        "hidden": "hidden files", "others": "files that are no scan",
    }  # fmt: skip
    return ", ".join(
        f"{len(names)} {words[kind]} ({', '.join(names[:2])}{', ...' if len(names) > 2 else ''})"
        for kind, names in rest.items()
        if names
    )


def is_clutter(name: str) -> bool:
    """Whether a file is one that macOS or Windows leave in folders of others, such as the ._ twin of a slice."""
    return name.startswith("._") or name.lower() in (".ds_store", "thumbs.db", "desktop.ini")


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


def _stem(text: str) -> str:
    for suffix in VOLUME_SUFFIXES:
        if text.lower().endswith(suffix):
            return text[: -len(suffix)]
    return text


def _is_slice(path: Path) -> bool:
    """Whether a file says that it is DICOM, or begins as one written without its preamble does."""
    if path.name.upper() == "DICOMDIR":
        return False
    if path.suffix.lower() in DICOM_SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            start = file.read(132)
    except OSError:
        return False
    return start[128:] == b"DICM" or re.match(rb"\x08\x00[\x00-\x20]\x00", start) is not None
