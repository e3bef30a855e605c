"""One run at a time in a folder: a lock that ends with the process that holds it, however that ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from MAPDiffLib.errors import InputError

LOCK_FILE = ".lock"


@contextmanager
def only_run_in(folder: Path) -> Iterator[None]:
    """Makes the folder and holds its lock meanwhile. InputError when another run holds it or it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise InputError(f"{folder} cannot be written ({error.strerror}): give another output folder.") from error
    try:
        _lock(file)
    except OSError:
        os.close(file)
        raise InputError(f"another run is writing in {folder}: wait for it, or give another output folder.") from None
    try:
        yield
    finally:
        os.close(file)


def _lock(file: int) -> None:
    """OSError at once when another process holds the lock."""
    if os.name == "nt":
        import msvcrt

        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
