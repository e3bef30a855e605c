"""Runs one job: checks, reads, restores, writes. The command line, the worker and the tests all come through here.

Nothing heavy is imported before it is needed: a job that cannot work is refused at once.
"""

from __future__ import annotations

import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from MAPDiffLib import __version__
from MAPDiffLib.errors import Cancelled
from MAPDiffLib.files import write_json
from MAPDiffLib.job import (
    REPORT_FILE,
    RESEARCH_USE,
    Job,
    consistency_file,
    dose_file,
    dose_label,
    dose_title,
    input_dose_label,
    uncertainty_file,
)
from MAPDiffLib.jobs.libraries import load_libraries
from MAPDiffLib.jobs.output_folder import check_still_there, earlier_results, make_output, sole_writer
from MAPDiffLib.jobs.reader import READER

Report = Callable[[dict], None]

_TURN = threading.Lock()  # who of a batch restores; reading and writing need no turn


def run_job(
    job: Job,
    report: Report = lambda message: None,
    cancelled: Callable[[], bool] = lambda: False,
    turn: AbstractContextManager = nullcontext(),  # noqa: B008  (stateless)
) -> Path:
    """Restores `job.input` into `job.output`; returns the path of its report.json, which is written last.

    Each dose is written whole and then reported as a "dose" message. InputError before any work for a job that cannot
    work; Cancelled when `cancelled()` turns true: doses already written stay, nothing half-written does. `turn` is held
    while a dose is computed, not while files are read or written: jobs in several threads overlap these with that.
    """
    with sole_writer(make_output(job)):
        return _run(job, earlier_results(job), report, cancelled, turn)


def _run(
    job: Job, stale: list[Path], report: Report, cancelled: Callable[[], bool], turn: AbstractContextManager
) -> Path:
    READER.begin()
    report({"type": "status", "message": "Loading the model libraries"})
    _waiting(cancelled, load_libraries)
    from MAPDiffLib.model.bundle import load_bundle
    from MAPDiffLib.restoration.restore import restore
    from MAPDiffLib.scan.volume import check_volume

    report({"type": "status", "message": f"Reading {Path(job.input).name}"})
    volume = _waiting(cancelled, READER.read, job.input)
    _waiting(cancelled, check_volume, volume, Path(job.input).name)
    bundle = _waiting(cancelled, load_bundle, job.bundle)
    write = _writer(job, f"{bundle.manifest.name} (weights sha256 {bundle.manifest.weights_sha256[:12]})")
    restoration = restore(volume, bundle, job, report, cancelled)
    written = _write_results(job, stale, write, restoration, report, turn)
    content = {"notice": RESEARCH_USE, "job": job.to_dict(), **written, **restoration.report}
    return write_json(content, Path(job.output) / REPORT_FILE)


def restore_item(job: dict, cancelled: Callable[[], bool] = lambda: False) -> None:
    """Restores one scan of many unless that has been done meanwhile; what a batch and the workers of a cluster run."""
    job = Job(**{name: tuple(value) if isinstance(value, list) else value for name, value in job.items()})
    if not (Path(job.output) / REPORT_FILE).exists():
        run_job(job, cancelled=cancelled, turn=_TURN)


@contextmanager
def cancel_on_signals() -> Iterator[threading.Event]:
    """An event set by Ctrl-C or SIGTERM, so that work stops at its next safe point; a second Ctrl-C stops at once."""
    event = threading.Event()

    def note(number, frame):
        event.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _in_turn(doses: Iterator, turn: AbstractContextManager) -> Iterator:
    """The same doses, each computed while `turn` is held."""
    while True:
        with turn:
            restored = next(doses, None)
        if restored is None:
            return
        yield restored
        del restored  # or it would be kept while the next one is computed


def _writer(job: Job, model: str) -> Callable:
    """write(volume, path, dose, input_dose, drawn) in the job's format; a dose of None is the uncertainty."""
    from MAPDiffLib.scan.volume import write_volume

    if job.format != "dicom":
        return lambda volume, path, *_: write_volume(volume, path)
    from MAPDiffLib.scan.dicom_reader import series_files
    from MAPDiffLib.scan.dicom_writer import Derivation, check_headers, write_series

    source = series_files(Path(job.input))
    check_headers(source)

    def write(volume, path: Path, dose: float | None, input_dose: float, drawn: bool = False) -> None:
        shows = "uncertainty" if dose is None else dose_title(dose, drawn)
        what = "One standard deviation of the restored full dose" if dose is None else f"Restored to {shows}"
        if drawn:
            shows += ", synthetic noise"  # and the writer adds that it is for research
            what = f"A scan of {dose_label(dose)} dose as it might have been: synthetic noise, research use; drawn"
        taken_for = input_dose_label(input_dose, job.input_dose is None)
        text = f"{what}, from a scan of {taken_for}, by MAPDiff {__version__}, model {model}, seed {job.seed}."
        number = round(1000 * (dose or 0)) - drawn  # beside the mean of the dose, in a study's list
        write_series(volume, source, Derivation(shows, text, number), path)

    return write


def _write_results(
    job: Job, stale: list[Path], write: Callable, restoration, report: Report, turn: AbstractContextManager
) -> dict:
    """Writes each dose as it is made, then the uncertainty and the consistency: what report.json says of the files.

    Earlier results go only when there is a first dose to replace them: a job refused late costs nothing.
    """
    from MAPDiffLib.scan.volume import write_volume

    folder, files, uncertainty = Path(job.output), [], None
    for restored in _in_turn(restoration, turn):
        while stale:
            _discard(stale.pop())
        path = folder / dose_file(restored.dose, job.extension, restored.drawn)
        check_still_there(folder)
        write(restored.volume, path, restored.dose, restored.input_dose, restored.drawn)
        told = {"dose": restored.dose, "as": "scan" if restored.drawn else "mean"}
        told["times_counts"] = restored.dose / restored.input_dose
        files.append({**told, "label": dose_label(restored.dose), "file": path.name})
        taken_for = {"input_dose": restored.input_dose, "dose_assumed": restored.dose_assumed}
        report({"type": "dose", "file": str(path), **told, **taken_for, "figures": restored.figures})
        input_dose = restored.input_dose
        del restored
    check_still_there(folder)
    if restoration.uncertainty is not None:
        uncertainty = uncertainty_file(job.extension)
        write(restoration.uncertainty, folder / uncertainty, None, input_dose)
    consistency = consistency_file(job.extension)
    write_volume(restoration.consistency, folder / consistency)
    return {"files": files, "uncertainty_file": uncertainty, "consistency_file": consistency}


def _discard(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _waiting(cancelled: Callable[[], bool], function: Callable, *arguments):
    """The function's result, or Cancelled as soon as that is asked for: the thread is left to end by itself.

    For what takes seconds, cannot be interrupted and writes nothing: loading torch, reading a large scan.
    """
    pool = ThreadPoolExecutor(max_workers=1)
    future = pool.submit(function, *arguments)
    pool.shutdown(wait=False)
    while not wait([future], timeout=0.1).done:
        if cancelled():
            raise Cancelled("cancelled before the restoration began")
    return future.result()
