"""The output folder: made, tried out, held by one run at a time, and cleared of what a killed run left half-written."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from MAPDiffLib.errors import InputError
from MAPDiffLib.files import clear_partials
from MAPDiffLib.job import Job, is_result_file
from MAPDiffLib.jobs.batch_inputs import is_clutter

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


def make_output(job: Job) -> Path:
    """The output folder, made and tried out. InputError when the input is missing or the folder cannot be written."""
    if not os.path.exists(job.input):
        raise InputError(f"{job.input} does not exist: check the path of the scan.")
    if job.format == "dicom":
        from MAPDiffLib.scan.dicom_writer import check_source

        check_source(Path(job.input))
    return make_folder(Path(job.output))


def make_folder(folder: Path) -> Path:
    """The folder, made and tried out. InputError when it cannot be written."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file: the results need a folder, give another --output.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"{folder} cannot be written ({error.strerror}): give another output folder.") from error
    return folder


def earlier_results(job: Job) -> list[Path]:
    """The results in the output folder that this job replaces. InputError when it must not, or one is its own input."""
    folder = Path(job.output)
    found = sorted(path for path in folder.iterdir() if is_result_file(path.name, job.extension))
    if any(path.samefile(job.input) for path in found):
        raise InputError(f"{job.input} lies in the output folder and has a result's name: give another output folder.")
    if found and not job.overwrite:
        names = ", ".join(path.name for path in found)
        raise InputError(f"{folder} already holds results ({names}): give another folder, or --overwrite.")
    for path in (path for path in found if path.is_dir()):
        names = sorted(inside.name for inside in path.iterdir())
        if foreign := [name for name in names if not name.endswith(".dcm") and not is_clutter(name)]:
            raise InputError(f"{path} would be replaced and holds {foreign[0]}, no result: give another output folder.")
    return found


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """The folder is ours meanwhile, and what a killed run left half-written in it is gone.

    InputError when another run has it. The lock is on the folder itself and ends with the process, however that ends;
    where folders cannot be locked (Windows, some network shares) a file in use cannot be removed either.
    """
    handle = None
    try:
        if fcntl is not None:
            handle = os.open(folder, os.O_RDONLY)
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise InputError(f"another run is writing into {folder}: wait for it, or give another.") from None
    except OSError:
        pass  # cannot be locked
    try:
        clear_partials(folder)
        yield
    finally:
        if handle is not None:
            os.close(handle)


def check_still_there(folder: Path) -> None:
    """OSError when somebody removed the folder while a job was running."""
    if not folder.is_dir():
        raise OSError(f"the output folder {folder} has gone meanwhile: start again, with a folder that stays")
