"""UDPET data -> cases to train on and to judge by: checked, in SUV, each subject in a split, each exclusion named.

<output>/<split>/<scanner>/<subject>/case.json, dose-1.000.nii.gz, ..., dose-0.010.nii.gz
<output>/subjects.csv    every acquisition found: prepared, or excluded and why
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from MAPDiffLib.errors import InputError
from MAPDiffLib.files import clear_partials, write_csv, write_json, written_whole
from MAPDiffLib.jobs.output_folder import make_folder, sole_writer
from MAPDiffLib.restoration.doses import dose_label, mix
from MAPDiffLib.scan.volume import read_volume, write_volume
from training.cases.case_file import CASE_FILE, dose_file
from training.process_pool import process_pool
from training.udpet.checks import Reference, check_activity, check_aligned, check_noise, check_plausible
from training.udpet.headers import Excluded, check_same_scan, check_tracer, read_header
from training.udpet.subjects import Subject, tree_subjects
from training.udpet.testset import find_table, table_subjects

HALF = 0.5
TABLE_FILE, OUTCOMES = "subjects.csv", "outcomes"
COLUMNS = (
    "subject", "status", "kind", "reason", "split", "scanner", "doses", "derived", "weight_kg", "injected_mbq",
    "tracer", "retained", "kg_per_litre", "shape_zyx", "spacing_mm", "not_used", "source",
)  # fmt: skip
FROM_FACTS = ("weight_kg", "injected_mbq", "tracer", "retained", "kg_per_litre", "shape_zyx", "spacing_mm")


def prepare_udpet(root: Path, output: Path, jobs: int = 1, retry: bool = False) -> list[dict]:
    """Prepares what is not prepared yet; returns the rows of subjects.csv, one per acquisition found.

    `root` is a tree of DICOM series in either layout, or the challenge's test set (NIfTI and a CSV). Subjects excluded
    earlier are tried again with `retry`. InputError when nothing is found or another run writes in `output`.
    """

    if not Path(root).is_dir():
        raise InputError(f"{root} is no folder: give the folder that holds the UDPET data.")
    with sole_writer(make_folder(output)):
        table = find_table(root)
        subjects = table_subjects(table) if table else tree_subjects(root)
        if not subjects:
            raise InputError(f"{root}: no folder below it is named after a dose, and no table of a test set is there.")
        waiting = [subject for subject in subjects if not _is_settled(subject, output, retry)]
        _prepare_all(waiting, output, jobs)
        rows = [json.loads(_outcome_file(subject, output).read_text(encoding="utf-8")) for subject in subjects]
        write_csv(rows, COLUMNS, output / TABLE_FILE)
    return rows


def summary(rows: list[dict]) -> str:
    """What came of it, as text: numbers by split and scanner, and by reason of exclusion."""
    prepared = Counter(f"{row['split']}/{row['scanner']}" for row in rows if row["status"] == "prepared")
    excluded = Counter(row["kind"] for row in rows if row["status"] == "excluded")
    derived = sum(bool(row["derived"]) for row in rows)
    lines = [f"{len(rows)} subjects: {prepared.total()} prepared, {excluded.total()} excluded"]
    lines += [f"  prepared  {name}: {count}" for name, count in sorted(prepared.items())]
    lines += [f"  excluded  {kind}: {count}" for kind, count in excluded.most_common()]
    if derived:
        lines.append(f"  {derived} lack the 1/2 dose: computed from 1/4 and full, to train on and not to judge by")
    return "\n".join(lines)


def _prepare_all(subjects: list[Subject], output: Path, jobs: int) -> None:
    """One subject a process at a time: memory is that of `jobs` subjects, whatever their number."""
    from tqdm import tqdm

    (output / OUTCOMES).mkdir(exist_ok=True)
    bar = tqdm(total=len(subjects), desc="subjects", unit="subject", disable=None)
    if jobs == 1:
        for subject in subjects:
            prepare_subject(subject, output)
            bar.update()
        return
    with process_pool(jobs) as pool:
        futures = [pool.submit(prepare_subject, subject, output) for subject in subjects]
        try:
            for future in as_completed(futures):
                future.result()
                bar.update()
        except BrokenProcessPool:
            raise OSError(
                "a process was ended from outside, often for want of memory: run the same command again, perhaps with "
                "fewer --jobs; what is prepared stays"
            ) from None


def prepare_subject(subject: Subject, output: Path) -> dict:
    """Checks one subject and writes its case; returns its row, which is also kept in outcomes/ for the next run."""
    row = dict.fromkeys(COLUMNS, "") | {"subject": subject.name, "source": subject.source}
    row |= {"split": subject.split, "scanner": subject.scanner, "not_used": "; ".join(subject.not_used)}
    row["doses"] = " ".join(dose_label(dose) for dose in sorted(subject.scans, reverse=True))
    try:
        facts = _write_case(subject, output)
        row |= {name: facts[name] for name in FROM_FACTS} | {"status": "prepared"}
        row["derived"] = " ".join(dose_label(dose) for dose in facts["derived_doses"])
        row["doses"] = " ".join(dose_label(dose) for dose in reversed(facts["doses"]))
    except InputError as error:
        row |= {"status": "excluded", "kind": getattr(error, "kind", "unreadable"), "reason": str(error)}
    write_json(row, _outcome_file(subject, output))
    return row


def _write_case(subject: Subject, output: Path) -> dict:
    """The case folder, whole under a hidden name first; returns its facts. Excluded when the subject cannot be used."""
    if subject.problem:
        raise Excluded(*subject.problem)
    _check_headers(subject)
    folder = output / subject.split / subject.scanner / subject.name
    folder.parent.mkdir(parents=True, exist_ok=True)
    clear_partials(folder.parent, of=f"{folder.name}.")
    with written_whole(folder) as partial:
        partial.mkdir()
        facts = _write_doses(subject, partial)
        (partial / CASE_FILE).write_text(json.dumps(facts, indent=1), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
    return facts


def _check_headers(subject: Subject) -> None:
    if all(scan.suv_factor is None for scan in subject.scans.values()):  # DICOM
        check_same_scan({dose: read_header(scan.path) for dose, scan in sorted(subject.scans.items())})
    check_tracer(subject.header)


def _write_doses(subject: Subject, folder: Path) -> dict:
    """Reads, checks and writes one dose after the other, the highest first."""
    doses = sorted(subject.scans, reverse=True)
    header, noise, reference, plausible = subject.header, {}, None, {}
    for dose in doses:
        scan = subject.scans[dose].read()
        if reference is None:
            reference = Reference.of(scan)
            plausible = check_plausible(scan, reference.body, header.weight_kg)
        else:
            check_aligned(scan, reference, dose)
            check_activity(scan, reference, dose)
        noise[dose] = reference.noise(scan)
        write_volume(scan, folder / dose_file(dose))
    check_noise(noise)
    derived = _derive_half(folder) if 1.0 in noise and 0.25 in noise and HALF not in noise else ()
    return {
        "kind": "UDPET (real patients, by agreement with the challenge)",
        "subject": subject.name,
        "split": subject.split,
        "source": subject.source,
        "scanner": {"manufacturer": header.manufacturer, "model": header.model},
        "doses": sorted(doses),
        "derived_doses": list(derived),
        "units": "SUVbw",
        "spacing_mm": list(reference.volume.spacing_mm),
        "shape_zyx": list(reference.shape),
        "weight_kg": header.weight_kg,
        "injected_mbq": header.injected_bq / 1e6,
        "tracer": header.tracer,
        "noise": {f"{dose:g}": value for dose, value in noise.items()},
        **plausible,
    }


def _derive_half(folder: Path) -> tuple[float, ...]:
    """Writes the expected 1/2 dose given 1/4 and full, of nested counts (restoration/doses.py): less noise than a real
    one, the same mean, so that a squared error trained on it has the same minimum."""
    quarter, full = (read_volume(folder / dose_file(dose)) for dose in (0.25, 1.0))
    write_volume(full.with_voxels(mix(quarter.voxels, full.voxels, 0.25, HALF)), folder / dose_file(HALF))
    return (HALF,)


def _outcome_file(subject: Subject, output: Path) -> Path:
    return output / OUTCOMES / f"{subject.name}.json"


def _is_settled(subject: Subject, output: Path, retry: bool) -> bool:
    path = _outcome_file(subject, output)
    if not path.exists():
        return False
    if json.loads(path.read_text(encoding="utf-8"))["status"] == "excluded":
        return not retry
    return (output / subject.split / subject.scanner / subject.name / CASE_FILE).exists()
