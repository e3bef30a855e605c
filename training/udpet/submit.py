"""The UDPET challenge's test set -> a submission: full dose from every file, in Bq/mL, under the input's own name."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from MAPDiffLib.errors import InputError
from MAPDiffLib.files import written_whole
from MAPDiffLib.job import Job, dose_file
from MAPDiffLib.jobs.batch import restore_batch
from training.udpet.testset import find_table, read_table

SUBMISSION, RESTORED = "submission", "restored"


def submit_udpet(
    root: Path,
    output: Path,
    common: Job,
    scheduler: str | None = None,
    progress: Callable[[str, str], None] = lambda name, what: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> list[Path]:
    """Restores what the table in `root` names and is not restored yet; returns the files of <output>/submission.

    `common` says how (bundle, device, samples); each row's own dose is the table's. Units and geometry are the input's,
    so Bq/mL stays Bq/mL. InputError when there is no table, or files could not be restored: they are named.
    """
    table = find_table(root)
    if table is None:
        raise InputError(f"{root} holds no table of a test set: a CSV with the challenge's columns is needed.")
    rows = [row for row in read_table(table) if row.dose < 1]
    jobs = {row.path.name: _job(common, row.path, row.dose, output / RESTORED) for row in rows}
    if len(jobs) < len(rows):
        raise InputError(f"{table} names a file twice.")
    done = restore_batch(list(jobs.values()), output / RESTORED, False, scheduler, progress, cancelled)
    if failed := [f"{row['name']}: {row['reason']}" for row in done if row["status"] != "done"]:
        raise InputError(f"{len(failed)} of {len(done)} files were not restored: " + "; ".join(failed[:5]))
    return [_hand_in(Path(job.output), output / SUBMISSION / name) for name, job in jobs.items()]


def _job(common: Job, path: Path, dose: float, output: Path) -> Job:
    name = path.name.removesuffix(".gz").removesuffix(".nii")
    place = {"input": str(path), "output": str(output / name)}
    return replace(common, **place, input_dose=dose, doses=(1.0,), format="nii.gz")


def _hand_in(folder: Path, target: Path) -> Path:
    """The restored file under the required name; a second name of the same file where the disk allows it."""
    restored = folder / dose_file(1.0, ".nii.gz")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(restored, target)
    except OSError:
        with written_whole(target) as partial:
            partial.write_bytes(restored.read_bytes())
    return target
