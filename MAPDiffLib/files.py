"""The one place where a file or a folder appears whole or not at all."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from MAPDiffLib.job import to_plain

_PARTIAL = re.compile(r"\..+\.[0-9a-f]{12}\.partial(\..+)?")


@contextmanager
def written_whole(path: str | os.PathLike) -> Iterator[Path]:
    """A hidden path beside `path`, with its extension, for a file or a folder that takes its name when the block ends
    well and is gone when it does not. What a kill leaves `clear_partials` finds.

    A file takes the place of one that is there, a folder only of an empty one. Two writers of one path do not meet.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.partial{''.join(path.suffixes)}")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        _remove(partial)


def clear_partials(folder: Path, of: str = "") -> None:
    """Takes away what writers that were killed left half-written in a folder; `of`: for a file or folder of this name
    alone. Only for who knows that nobody is writing there."""
    for path in folder.iterdir():
        if is_partial(path.name) and path.name.startswith(f".{of}"):
            with suppress(OSError):
                _remove(path)


def is_partial(name: str) -> bool:
    """Whether `written_whole` gives such a name to what is not yet whole."""
    return _PARTIAL.fullmatch(name) is not None


def write_text(text: str, path: str | os.PathLike, errors: str = "strict") -> Path:
    """A text in UTF-8 with plain line ends."""
    with written_whole(path) as partial:
        partial.write_text(text, encoding="utf-8", errors=errors, newline="\n")
    return Path(path)


def write_json(content: Mapping, path: str | os.PathLike) -> Path:
    """What JSON cannot say (nan, inf) becomes null."""
    return write_text(json.dumps(to_plain(content), indent=2, allow_nan=False) + "\n", path)


def write_csv(rows: Iterable[Mapping], columns: Sequence[str], path: str | os.PathLike) -> Path:
    """A table with a header; what is no text (a name in Latin-1) is escaped."""
    with written_whole(path) as partial:
        with partial.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)
    return Path(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
