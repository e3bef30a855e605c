"""A private folder for what passes between panel and worker, and the sweep of folders whose Slicer has died.

The owner holds a lock on a file in its folder for as long as it lives. The system drops the lock with the process,
however that ends, which a process number in a file could not tell: numbers are used again.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path

import slicer

PREFIX, LOCK = "MAPDiff-", "owner.lock"
UNLOCKED_S = 3600.0  # a folder without a lock file is just being made, or its maker died in that moment


class JobFolder:
    """Made with access for this user alone (0700); `remove` it on every way out."""

    def __init__(self):
        self.path = tempfile.mkdtemp(prefix=PREFIX, dir=temporaryPath())
        self._lock = open(os.path.join(self.path, LOCK), "w")  # noqa: SIM115 - held until remove()
        _locked(self._lock)

    def remove(self) -> None:
        """Also when a process that is just ending still writes into it."""
        self._lock.close()
        removeTree(self.path)


def sweep() -> list[str]:
    """Removes the folders of dead owners, which hold a patient's voxels; returns their names."""
    found = [folder for folder in Path(temporaryPath()).glob(PREFIX + "*") if folder.is_dir()]
    dead = [folder for folder in found if not folder.is_symlink() and _isDead(folder)]
    for folder in dead:
        removeTree(str(folder))
    return [folder.name for folder in dead]


def removeTree(folder: str) -> None:
    """Three tries: a file may be written in the moment between emptying and removing."""
    for _attempt in range(3):
        shutil.rmtree(folder, ignore_errors=True)
        if not os.path.exists(folder):
            return
        time.sleep(0.01)


def temporaryPath() -> str:
    """Slicer's folder for such things, else the system's."""
    path = str(slicer.app.temporaryPath)
    return path if os.path.isdir(path) else tempfile.gettempdir()


def _isDead(folder: Path) -> bool:
    try:
        with open(folder / LOCK, "r+") as file:
            return _locked(file)
    except FileNotFoundError:
        return folder.exists() and time.time() - os.path.getmtime(folder) > UNLOCKED_S
    except OSError:  # of another user, or locked in a way that cannot even be opened
        return False


def _locked(file) -> bool:
    """Takes the lock if nobody has it; a file system that knows no locks counts as taken."""
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
