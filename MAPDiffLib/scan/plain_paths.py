"""Paths that SimpleITK can open: it aborts on a name that is no text, and on Windows knows only the code page's.

It also tells formats by lower-case endings, and takes scan.nii for scan.nii.gz where both are there.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from MAPDiffLib.errors import InputError


def is_plain(path: Path) -> bool:
    """Whether SimpleITK can be given this path as it is."""
    if sys.platform == "win32":
        return str(path).isascii()
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:  # bytes of another encoding, which Python keeps as surrogates
        return False
    return True


@contextmanager
def plain_copy(path: Path, name: str, beside: Sequence[str] = ()) -> Iterator[Path]:
    """The file, called `name`, in a folder of its own with a plain path; a link where links may be made, else a copy.

    beside: names of files in the same folder that it refers to. InputError where there is no folder for it.
    """
    with plain_folder(path) as folder:
        _link(path, folder / name)
        for other in beside:
            if (path.parent / other).is_file() and is_plain(Path(other)) and Path(other).name == other:
                _link(path.parent / other, folder / other)
        yield folder / name


@contextmanager
def plain_target(path: Path, name: str) -> Iterator[Path]:
    """A plain path to write to; what was written there is at `path` afterwards. `path` itself where it is plain."""
    if is_plain(path):
        yield path
        return
    with plain_folder(path) as folder:
        yield folder / name
        shutil.copyfile(folder / name, path)


@contextmanager
def plain_folder(path: Path) -> Iterator[Path]:
    """A temporary folder with a plain path, for what stands for `path`. InputError where there is no place for it."""
    places = [tempfile.gettempdir(), _short(tempfile.gettempdir()), os.environ.get("PUBLIC", "")]
    place = next((place for place in places if place and is_plain(Path(place)) and os.path.isdir(place)), None)
    if place is None:
        raise InputError(
            f"{path} has letters in its path that SimpleITK cannot open here, and so has the temporary folder "
            f"({tempfile.gettempdir()}): move the scan to a folder with plain letters and set TEMP to one."
        )
    with tempfile.TemporaryDirectory(prefix="mapdiff-", dir=place) as folder:
        yield Path(folder)


def _link(source: Path, target: Path) -> None:
    try:
        target.symlink_to(source.resolve())
    except OSError:  # Windows, without the right to
        shutil.copyfile(source, target)


def _short(folder: str) -> str:
    """Windows' own short name of a folder, in plain letters; "" elsewhere or where there is none."""
    if sys.platform != "win32":
        return ""
    import ctypes

    text = ctypes.create_unicode_buffer(1024)
    return text.value if ctypes.windll.kernel32.GetShortPathNameW(folder, text, len(text)) else ""
