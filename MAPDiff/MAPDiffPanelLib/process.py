"""MAPDiffLib as a child process: started, listened to, asked to stop, and ended with all its children.

The worker ends by itself when its standard input closes, so nothing outlives Slicer, also when Slicer crashes.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import qt
import slicer

from MAPDiffLib import job as jobModule

LOG_LIMIT = 20_000  # characters of standard error kept for an error's details
PATIENCE_MS = 1800  # between asking the worker to stop and ending it
PS_S = 10  # for a look at all processes: a moment, but on a computer that is swamped


class WorkerProcess:
    """One `PythonSlicer -m <module> <arguments>`.

    onLine(text) for each whole line of standard output; onFinished(exitCode, crashed) once, after the last line.
    """

    def __init__(self, onLine: Callable[[str], None], onFinished: Callable[[int, bool], None]):
        self._onLine, self._onFinished = onLine, onFinished
        self._rest, self._log, self._ended = b"", "", False
        self.process = qt.QProcess()
        self.process.connect("readyReadStandardOutput()", self._readOutput)
        self.process.connect("readyReadStandardError()", self._readLog)
        self.process.connect("finished(int,QProcess::ExitStatus)", self._finished)
        self.process.connect("errorOccurred(QProcess::ProcessError)", self._error)
        self._patience = qt.QTimer()
        self._patience.setSingleShot(True)
        self._patience.setInterval(PATIENCE_MS)
        self._patience.connect("timeout()", self.end)

    def start(self, arguments: list[str], folder: str, module: str = "MAPDiffLib", extra: dict | None = None) -> None:
        """Starts the child with `folder` as its working directory; a failure to start comes as onFinished."""
        environment = qt.QProcessEnvironment()
        for name, value in {**childEnvironment(), **(extra or {})}.items():
            environment.insert(name, value)
        self.process.setProcessEnvironment(environment)
        self.process.setWorkingDirectory(str(folder))
        self.process.start(pythonExecutable(), ["-m", module] + list(arguments))

    @property
    def running(self) -> bool:
        """Whether the child is starting or alive."""
        return not self._ended and self.process.state() != qt.QProcess.NotRunning

    @property
    def log(self) -> str:
        """The end of what the child wrote to standard error."""
        return self._log

    def cancel(self) -> None:
        """Asks the worker to stop; ends it by force when it has not stopped in time."""
        if self.running:
            self.process.write(b"cancel\n")
            self._patience.start()

    def end(self) -> None:
        """Ends the child and its children by force; onFinished comes as usual."""
        if self.running:
            endTree(int(self.process.processId()))

    def endAndWait(self) -> None:
        """For an application that quits or a module that is reloaded: onFinished is not called any more."""
        self._ended = True
        self._patience.stop()
        if self.process.state() != qt.QProcess.NotRunning:
            endTree(int(self.process.processId()))
            self.process.waitForFinished(2000)

    def _readOutput(self) -> None:
        if self._ended:
            return
        *lines, self._rest = (self._rest + self.process.readAllStandardOutput().data()).split(b"\n")
        for line in lines:
            self._onLine(line.decode("utf-8", "replace"))

    def _readLog(self) -> None:
        text = self.process.readAllStandardError().data().decode("utf-8", "replace")
        self._log = (self._log + text)[-LOG_LIMIT:]

    def _error(self, error) -> None:
        if int(error) == int(qt.QProcess.FailedToStart) and not self._ended:  # no finished() follows this one
            self._ended = True
            self._log += self.process.errorString()
            self._onFinished(-1, True)

    def _finished(self, exitCode: int, exitStatus) -> None:
        if self._ended:
            return
        self._readOutput()  # the last line of a killed worker may be half a line: it is dropped
        self._readLog()
        self._ended = True
        self._patience.stop()
        self._onFinished(int(exitCode), int(exitStatus) != int(qt.QProcess.NormalExit))


def pythonExecutable() -> str:
    """Slicer's own Python; outside an installed Slicer, the Python that runs this."""
    return shutil.which("PythonSlicer") or sys.executable


def childEnvironment() -> dict[str, str]:
    """The environment Slicer was started with, so that the launcher sets its own, plus where MAPDiffLib lies."""
    environment = dict(slicer.util.startupEnvironment())
    library = str(Path(jobModule.__file__).parent.parent)
    # At the end of the path: a neighbour of MAPDiffLib in the modules' folder must not hide a Python package.
    paths = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    environment.update(PYTHONPATH=os.pathsep.join([*paths, library]), PYTHONUTF8="1", PYTHONUNBUFFERED="1")
    return environment


def endTree(pid: int) -> None:
    """Ends a process and its descendants: PythonSlicer is a launcher, and ending it alone leaves its child."""
    if pid <= 0:
        return
    if os.name == "nt":
        hidden = getattr(subprocess, "CREATE_NO_WINDOW", 0)
        subprocess.run(["taskkill", "/PID", str(pid), "/T", "/F"], capture_output=True, creationflags=hidden)
        return
    for one in [*descendants(pid), pid]:
        try:
            os.kill(one, signal.SIGKILL)
        except OSError:
            continue  # it has ended by itself


def descendants(pid: int) -> list[int]:
    """Children, their children and so on, deepest last; POSIX only."""
    try:
        table = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, timeout=PS_S).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    pairs = [tuple(map(int, line.split())) for line in table.splitlines() if len(line.split()) == 2]
    found, parents = [], {pid}
    while parents:
        parents = {child for child, parent in pairs if parent in parents}
        found += sorted(parents)
    return found
