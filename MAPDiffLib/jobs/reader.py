"""Scans read by a process of their own: readers in C end theirs on some damaged files, and that must cost one scan.

One process reads one scan after another. After a refusal it ends, since a damaged file may have left its memory
damaged, and the next scan starts another. A request is a line of JSON with the path; the answer a line of JSON, then
the voxels as float32.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from MAPDiffLib.errors import InputError, says_out_of_memory

if TYPE_CHECKING:
    from MAPDiffLib.scan.volume import Volume

LIBRARY = Path(__file__).parents[2]
# How others end a process; all else that ends it from outside its own code is a crash.
ENDED = {-getattr(signal, name) for name in ("SIGHUP", "SIGINT", "SIGTERM") if hasattr(signal, name)}
KILLED = -getattr(signal, "SIGKILL", 9)  # most often by a system that is out of memory


class Reader:
    """Reads scans by a child process, started when one is needed; threads that ask are served one at a time."""

    def __init__(self):
        self._lock, self._process, self._log = threading.Lock(), None, None

    def begin(self) -> None:
        """Starts the process, so that it loads its libraries meanwhile."""
        with self._lock:
            self._begin()

    def read(self, path: str | Path) -> Volume:
        """As volume.read_volume. InputError also where the reader crashed; MemoryError, OSError where it was ended."""
        with self._lock:
            self._begin()
            volume = None
            try:
                volume = self._ask(str(path))
                return volume
            finally:
                if volume is None:
                    self._end()

    def _begin(self) -> None:
        if self._process is not None and self._process.poll() is None:
            return
        self._end()
        self._log = tempfile.TemporaryFile()
        paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "MAPDiffLib.jobs.reader"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([*paths, str(LIBRARY)])},
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )  # fmt: skip

    def _ask(self, path: str) -> Volume:
        import numpy as np

        from MAPDiffLib.scan.volume import Volume

        try:
            self._process.stdin.write(json.dumps(path).encode() + b"\n")
            self._process.stdin.flush()
            answer = json.loads(self._process.stdout.readline())
            if "refused" in answer:
                raise InputError(answer["refused"])
            voxels = np.empty(answer.pop("shape"), np.float32)
            rest = memoryview(voxels).cast("B") if voxels.size else memoryview(b"")
            while rest:
                rest = rest[self._process.stdout.readinto(rest) or self._raise(path) :]
        except (json.JSONDecodeError, BrokenPipeError):  # it ended before, or within, its answer
            self._raise(path)
        answer["warnings"] = tuple(answer["warnings"])
        return Volume(voxels, **answer)

    def _raise(self, path: str) -> None:
        """Says how the process has ended."""
        code = self._process.wait()
        self._log.seek(0)
        last = (self._log.read().decode("utf-8", "replace").strip().splitlines() or ["it left no message"])[-1]
        if code == KILLED or says_out_of_memory(last):
            raise MemoryError(f"reading {path} was ended, most often because memory ran out")
        if code in ENDED:
            raise OSError(f"reading {path} was ended by signal {-code}")
        if code == 1:
            raise OSError(f"{path} could not be read: {last}")
        raise InputError(
            f"{path}: the reader crashed on this file (code {code}): it is damaged, or not what its name says. Copy or "
            "export it again, or convert it to another format."
        )

    def _end(self) -> None:
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._log):
            try:
                pipe.close()
            except OSError:  # what was not yet written to a process that is gone
                pass
        self._process = None


READER = Reader()
atexit.register(READER._end)  # it would end by itself, but Python would warn of a child that nobody waited for


def serve() -> None:
    """What the child does: reads a scan for each line of standard input, until that ends or a scan is refused."""
    from MAPDiffLib.jobs.channel import claim_stdout

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to both; the parent decides what ends
    channel = claim_stdout()
    import numpy as np

    from MAPDiffLib.scan.volume import read_volume

    for line in iter(sys.stdin.buffer.readline, b""):
        try:
            volume = read_volume(json.loads(line))
        except InputError as error:
            channel.write(json.dumps({"refused": str(error)}).encode() + b"\n")
            channel.flush()
            return
        facts = {name: value for name, value in vars(volume).items() if name in volume.__dataclass_fields__}
        voxels = facts.pop("voxels")
        channel.write(json.dumps({**facts, "shape": voxels.shape}).encode() + b"\n")
        channel.write(np.ascontiguousarray(voxels, "<f4").data)
        channel.flush()
        del volume, voxels, facts  # not kept while the next one is waited for


if __name__ == "__main__":
    serve()
