"""The UDPET data as they lie on disk: subjects and their doses, from folder names in every spelling that is in use.

Bern:      Subject_X-Y/<acquisition>/{Full_dose, 1-2 dose, ..., 1-100 dose}/*.IMA
Shanghai:  PARTn/Anonymous_ANO_*/2.886 x 600 WB {NORMAL, D4, ..., D100}/*.dcm, also "normal", "DRF_4", "1-4 dose"
"""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

FACTORS = (2, 4, 10, 20, 50, 100)
# At the end of a name: "D100" and "DRF_100" are a hundredth of the dose, though they look like 100 per cent; and
# "Subject_1-4" is four subjects.
FULL = re.compile(r"^full(?:[\s_-]*dose)?$|(?:^|\s)normal$", re.IGNORECASE)
REDUCED = re.compile(
    r"(?:(?:^|[\s_-])1[-_](\d+)[\s_-]*dose|^1[-_](\d+)|(?:^|[\s_-])D(?:RF)?[\s_-]*(\d+))$", re.IGNORECASE
)


@dataclass(frozen=True)
class Found:
    """One acquisition: its folder, {dose: folders of that dose}, and folders with images whose dose is not clear."""

    name: str
    folder: Path
    doses: dict[float, tuple[Path, ...]]
    unclear: tuple[Path, ...] = ()


def dose_of_name(name: str) -> float | None:
    """ "2.886 x 600 WB D100" -> 0.01, "Full_dose" -> 1.0; None for a name that says none of the challenge's doses."""
    name = name.strip()
    if FULL.search(name):
        return 1.0
    match = REDUCED.search(name)
    factor = int(next(filter(None, match.groups()))) if match else 0
    return 1 / factor if factor in FACTORS else None


def find_acquisitions(root: Path) -> list[Found]:
    """Every folder below `root` that holds dose folders, or images that belong to no dose; names made unique."""
    found = _search(Path(root))
    repeated = {name for name, count in Counter(each.folder.name for each in found).items() if count > 1}
    return [Found(_name(each.folder, Path(root), repeated), each.folder, each.doses, each.unclear) for each in found]


def _name(folder: Path, root: Path, repeated: set[str]) -> str:
    name = folder.name if folder.name not in repeated else "__".join(folder.relative_to(root).parts)
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name) or root.name


def _search(folder: Path) -> list[Found]:
    subfolders, has_files = _listing(folder)
    doses: dict[float, list[Path]] = {}
    others = []
    for path in subfolders:
        dose = dose_of_name(path.name)
        if dose is None:
            others.append(path)
        else:
            doses.setdefault(dose, []).append(path)
    if not doses:
        if has_files and not others:
            return [Found("", folder, {}, (folder,))]
        return [each for path in others for each in _search(path)]
    inside = {dose: tuple(_series_folder(path) for path in paths) for dose, paths in doses.items()}
    below = [each for path in others for each in _search(path)]
    unclear = tuple(path for each in below if not each.doses for path in each.unclear)
    return [Found("", folder, inside, unclear), *(each for each in below if each.doses)]


def _series_folder(path: Path) -> Path:
    """The folder itself, or the only one inside it when the series lies a level deeper."""
    subfolders, has_files = _listing(path)
    return _series_folder(subfolders[0]) if len(subfolders) == 1 and not has_files else path


def _listing(folder: Path) -> tuple[list[Path], bool]:
    """Sorted subfolders, and whether there are files beside them; hidden ones do not count."""
    subfolders, has_files = [], False
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                continue
            if entry.is_dir():
                subfolders.append(Path(entry.path))
            elif not entry.name.lower().endswith((".txt", ".csv", ".pdf", ".json", ".md", ".docx", ".xlsx")):
                has_files = True
    return sorted(subfolders), has_files
