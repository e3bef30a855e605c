"""Restores many scans: one folder of results each, done ones skipped, failed ones named, a table of all.

<output>/<name>/report.json    is written last, so a folder with one is whole
<output>/<name>/failure.json   why there is none
<output>/summary.csv           a row for every scan
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from MAPDiffLib.errors import Cancelled, InputError, NotAScan
from MAPDiffLib.files import clear_partials, write_csv, write_json
from MAPDiffLib.job import REPORT_FILE, Job, dose_label
from MAPDiffLib.jobs.batch_inputs import PassedOver
from MAPDiffLib.jobs.output_folder import make_folder, sole_writer
from MAPDiffLib.jobs.run_job import restore_item

FAILURE_FILE, SUMMARY_FILE = "failure.json", "summary.csv"
COLUMNS = (
    "name", "input", "status", "reason", "input_dose", "dose_assumed", "doses", "seconds", "body_litres",
    "mean_in_body", "noise", "warnings",
)  # fmt: skip
# Two scans at a time in a process: while one is restored the other is read or written. Their memory is the bound.
SCANS_AT_A_TIME = 2

Progress = Callable[[str, str], None]  # name, "done" or why it failed


def restore_batch(
    jobs: list[Job],
    output: Path,
    retry: bool = False,
    scheduler: str | None = None,
    progress: Progress = lambda name, what: None,
    cancelled: Callable[[], bool] = lambda: False,
    passed_over: Sequence[PassedOver] = (),
) -> list[dict]:
    """Restores the jobs, whose outputs are folders in `output`, that are not done; returns the rows of summary.csv.

    The table also has a row for all that was passed over: before, and the scans that turn out to be label maps.

    A job with `overwrite` is done again. Scans that cannot be restored are tried again only with `retry`; what failed
    for another reason (a full disk, too little memory) is tried again in every run. `scheduler`: address or file of a
    Dask scheduler whose workers do the work instead of this process. InputError when another batch writes in `output`.
    """
    with sole_writer(make_folder(output)):
        waiting = [replace(job, overwrite=True) for job in jobs if _is_waiting(job, retry)]
        for job in waiting:
            _clear(Path(job.output))
        try:
            with _results(waiting, scheduler, cancelled) as results:
                for job, error in results:
                    if error is not None:
                        _note_failure(job, error)
                    progress(Path(job.output).name, "done" if error is None else _reason(error))
        finally:
            rows = [*map(_row, jobs), *map(_row_of_no_scan, passed_over)]
            write_csv(rows, COLUMNS, output / SUMMARY_FILE)
    return rows


@contextmanager
def _results(jobs: list[Job], scheduler: str | None, cancelled: Callable[[], bool]) -> Iterator[Iterable]:
    """(job, None or its error) for each job as it ends."""
    if scheduler is not None:
        from MAPDiffLib.jobs.cluster import on_cluster

        with on_cluster(jobs, scheduler, cancelled) as results:
            yield results
        return
    with ThreadPoolExecutor(SCANS_AT_A_TIME) as pool:
        futures = {pool.submit(restore_item, job.to_dict(), cancelled): job for job in jobs}
        try:
            yield _ended(futures)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _ended(futures: dict[Future, Job]) -> Iterator[tuple[Job, BaseException | None]]:
    for future in as_completed(futures):
        error = future.exception()
        if isinstance(error, Cancelled):
            raise error
        yield futures.pop(future), error


def _is_waiting(job: Job, retry: bool) -> bool:
    folder = Path(job.output)
    if job.overwrite:
        return True
    if (folder / REPORT_FILE).exists():
        return False
    failure = _read(folder / FAILURE_FILE)
    return retry or not failure.get("bad_input", False)


def _clear(folder: Path) -> None:
    """Takes away what says that the scan is done or has failed, and the unfinished files of a run that was killed."""
    if folder.is_dir():
        for path in (folder / REPORT_FILE, folder / FAILURE_FILE):
            path.unlink(missing_ok=True)
        clear_partials(folder)


def _note_failure(job: Job, error: BaseException) -> None:
    folder = Path(job.output)
    folder.mkdir(parents=True, exist_ok=True)
    kinds = {"bad_input": isinstance(error, InputError), "no_scan": isinstance(error, NotAScan)}
    write_json({**kinds, "reason": _reason(error)}, folder / FAILURE_FILE)


def _reason(error: BaseException) -> str:
    return str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"


def _row(job: Job) -> dict:
    folder = Path(job.output)
    row = dict.fromkeys(COLUMNS, "") | {"name": folder.name, "input": job.input}
    report, failure = _read(folder / REPORT_FILE), _read(folder / FAILURE_FILE)
    if report:
        doses, facts = report["doses"], report["input"]
        row |= {
            "status": "done",
            "input_dose": facts["dose_used"],
            "dose_assumed": facts["dose_assumed"],
            "doses": " ".join(map(dose_label, map(float, doses))),
            "warnings": " ".join(report["warnings"]),
        }
        row |= {name: facts[name] for name in ("body_litres", "mean_in_body")}
        return row | {"seconds": round(sum(report["seconds"].values()), 1), "noise": list(doses.values())[-1]["noise"]}
    if not failure:
        return row | {"status": "waiting"}
    return row | {"status": "passed over" if failure.get("no_scan") else "failed", "reason": failure["reason"]}


def _row_of_no_scan(one: PassedOver) -> dict:
    facts = {"name": Path(one.path).name, "input": one.path, "status": "passed over", "reason": one.reason}
    return dict.fromkeys(COLUMNS, "") | facts


def _read(path: Path) -> dict:
    """The content of a JSON file, {} when it is not there."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
