"""The subjects of a tree of UDPET series: which doses each has, its split, and what is wrong before a voxel is read."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from MAPDiffLib.errors import InputError
from MAPDiffLib.restoration.doses import dose_label
from MAPDiffLib.scan.volume import Volume, check_volume, read_volume
from training.udpet.headers import Excluded, Header, read_header
from training.udpet.names import Found, find_acquisitions

NEEDED = (1.0, 0.25, 0.1, 0.05, 0.02, 0.01)  # Shanghai has no 1/2 dose
SPLITS = {"test": 0.1, "validation": 0.1}  # shares of the patients; the rest is for training
MOST_SCANS_OF_A_PATIENT = 4  # a patient's number that more scans share is an anonymiser's, not a patient's


@dataclass(frozen=True)
class Scan:
    """One dose on disk; `suv_factor` is None where the reader finds it in the header itself."""

    path: Path
    suv_factor: float | None = None

    def read(self) -> Volume:
        """The scan in SUV, without the header's texts. InputError says what is wrong with it."""
        volume = read_volume(self.path)
        check_volume(volume, str(self.path))
        try:
            factor = volume.suv_factor if self.suv_factor is None else self.suv_factor
        except InputError as error:
            raise Excluded("no SUV", f"{self.path}: {error}") from None
        geometry = volume.spacing_mm, volume.origin_mm, volume.direction
        return Volume(volume.voxels * np.float32(factor), *geometry, units="SUVbw")


@dataclass(frozen=True)
class Subject:
    """One acquisition to prepare; `problem` (kind, reason) is what the folders or the table alone already tell."""

    name: str
    source: str
    scans: dict[float, Scan]
    split: str = ""
    header: Header | None = None
    problem: tuple[str, str] | None = None
    not_used: tuple[str, ...] = ()

    @property
    def scanner(self) -> str:
        """Folder name for the scanner's model."""
        model = self.header.model.lower() if self.header else ""
        known = [name for name in ("quadra", "uexplorer") if name in model]
        return known[0] if known else re.sub(r"[^a-z0-9]+", "-", model).strip("-") or "unknown"


def tree_subjects(root: Path) -> list[Subject]:
    """The acquisitions of a tree of DICOM series, each with a split; doubles and patients are told by their headers."""
    found = [_subject(each, root) for each in find_acquisitions(root)]
    scans_of = Counter(subject.header.patient_id for subject in found if subject.header)
    seen: dict[str, str] = {}
    subjects = []
    for subject in found:
        if subject.header:
            patient = subject.header.patient_id
            whose = patient if patient and scans_of[patient] <= MOST_SCANS_OF_A_PATIENT else subject.name
            subject = replace(subject, split=split_of(whose))
            first = seen.setdefault(subject.header.series_uid, subject.name)
            if first != subject.name and subject.problem is None:
                same = ("duplicate", f"its full dose is the same series as that of {first}")
                subject = replace(subject, problem=same)
        subjects.append(subject)
    return subjects


def split_of(patient: str) -> str:
    """train, validation or test: the same for a patient in every run, whoever else is there."""
    place = int.from_bytes(hashlib.sha256(patient.encode()).digest()[:8], "big") / 2**64
    for split, share in SPLITS.items():
        if place < share:
            return split
        place -= share
    return "train"


def _subject(found: Found, root: Path) -> Subject:
    scans = {dose: Scan(paths[0]) for dose, paths in found.doses.items()}
    problem = header = None
    twice = [dose_label(dose) for dose, paths in found.doses.items() if len(paths) > 1]
    missing = [dose_label(dose) for dose in NEEDED if dose not in scans]
    if not scans:
        problem = ("unclear dose", "its name says none of the doses")
    elif twice:
        problem = ("doubled dose", f"more than one folder for the {', '.join(twice)} dose")
    elif missing:
        problem = ("missing doses", f"no folder for the {', '.join(missing)} dose")
    if 1.0 in scans:
        try:
            header = read_header(scans[1.0].path)
        except Excluded as error:
            problem = problem or (error.kind, str(error))
    source = found.folder.relative_to(root).as_posix()
    unused = tuple(path.relative_to(found.folder).as_posix() for path in found.unclear if scans)
    return Subject(found.name, source, scans, header=header, problem=problem, not_used=unused)
