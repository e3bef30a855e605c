"""The best estimate of a region's mean with its 90 % interval, from scan and restored full dose: asked of a child.

The mathematics need torch, which must not be loaded here. Each question has a private folder with the scan, the full
dose and the region, which is written in small steps and goes with the answer: nothing of a scan lies about meanwhile.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import qt
from slicer.i18n import tr as _

from MAPDiffLib import job as jobModule
from MAPDiffPanelLib import install
from MAPDiffPanelLib.failure_messages import estimateMessage
from MAPDiffPanelLib.idle_tasks import IdleTasks
from MAPDiffPanelLib.job_folder import JobFolder
from MAPDiffPanelLib.process import WorkerProcess
from MAPDiffPanelLib.regions import Region
from MAPDiffPanelLib.results import Result
from MAPDiffPanelLib.scan import ScanFacts, voxelsOf
from MAPDiffPanelLib.volumefile import writeNrrd

REST_MS = 400  # a region that is being dragged or drawn is not asked about
SCAN, FULL, MASK, ANSWER = "scan.nrrd", "full.nrrd", "region.nrrd", "regions.json"
IMAGE = "best estimate"  # how `mapdiff measure` calls its row
EXPLAINED = _(
    "The best estimate of the mean: scan and restored full dose, weighed by the scan's noise in regions like this one. "
    "The interval holds 90 %."
)


@dataclass(frozen=True)
class Estimate:
    """In the voxels' unit. low and high are nan where the noise could not be measured; warning is "" or a sentence."""

    value: float
    low: float
    high: float
    warning: str

    def words(self, factor: float) -> str:
        """ "3.81 (90 %: 3.40 to 4.20)", with a mark where the two images lie further apart than noise explains."""
        text = f"{factor * self.value:.2f}"
        if not math.isnan(self.low):
            text = _("{value} (90 %: {low:.2f} to {high:.2f})").format(
                value=text, low=factor * self.low, high=factor * self.high
            )
        return text + " !" if self.warning else text


class BestEstimate:
    """Asks about one region at a time: onAnswer(Estimate, "") or onAnswer(None, a sentence for the user)."""

    def __init__(self, onAnswer: Callable[[Estimate | None, str], None]):
        self._onAnswer, self._tasks, self._cleaning = onAnswer, IdleTasks(), IdleTasks()
        self._asked, self._question = None, None
        self._leaving: list[_Question] = []  # whose child or folder is just going
        self._rest = qt.QTimer()
        self._rest.setSingleShot(True)
        self._rest.setInterval(REST_MS)
        self._rest.connect("timeout()", self._start)

    def ask(self, result: Result, region: Region) -> None:
        """Returns at once; an earlier question is dropped, and nothing is asked before the region is left alone."""
        self.drop()
        self._asked = (result, region)
        self._rest.start()

    def drop(self) -> None:
        """Nobody wants the answer any more: its child ends, and its folder goes with it."""
        self._rest.stop()
        self._tasks.clear()
        self._asked, question, self._question = None, self._question, None
        if question is not None:
            self._leaving.append(question)
            if not question.end():
                self._clean(question)

    def stopNow(self) -> None:
        """For quitting, reloading and closing the scene: no process and no folder is left."""
        self.drop()
        self._cleaning.clear()
        for question in self._leaving:
            question.endAndWait()
        self._leaving = []

    @property
    def busy(self) -> bool:
        """Whether an answer is on its way, or the files of an earlier question are still going."""
        return self._asked is not None or self._cleaning.busy

    @property
    def processID(self) -> int:
        """Of the child, 0 while there is none."""
        return self._question.processID if self._question is not None else 0

    def _start(self) -> None:
        try:
            if install.missingPackages():
                raise install.InstallError(_("This needs what Denoise installs at its first use: press it once."))
        except install.InstallError as error:
            self._answered(None, str(error))
            return
        self._question = _Question(self._ended)
        self._tasks.add(self._question.write(*self._asked), self._failed)

    def _failed(self, error: Exception) -> None:
        self._ended(self._question, None, estimateMessage(error))

    def _ended(self, question: _Question, estimate: Estimate | None, message: str) -> None:
        if question is self._question:
            self._leaving.append(question)
            self._answered(estimate, message)
        self._clean(question)

    def _clean(self, question: _Question) -> None:
        """In steps: a volume's file takes long to go."""
        self._cleaning.add(self._cleaned(question), lambda error: None)

    def _cleaned(self, question: _Question) -> Iterator[None]:
        yield from question.remove()
        self._leaving.remove(question)

    def _answered(self, estimate: Estimate | None, message: str) -> None:
        self._asked = self._question = None
        self._onAnswer(estimate, message)


class _Question:
    """One question, from its files to its answer: onEnd(question, estimate, message) once its child has ended."""

    def __init__(self, onEnd: Callable):
        self._onEnd, self._folder = onEnd, JobFolder()
        self._worker = WorkerProcess(lambda line: None, self._workerEnded)

    @property
    def processID(self) -> int:
        """0 while there is no child."""
        return int(self._worker.process.processId()) if self._worker.running else 0

    def write(self, result: Result, region: Region) -> Iterator[None]:
        """What `mapdiff measure` reads: scan and full dose as a restoration leaves them, and the region's box alone."""
        facts, full = ScanFacts(result.inputNode), voxelsOf(result.meanOf(1.0))
        if full.shape != facts.voxels.shape:
            raise ValueError(_("Scan and restored volume have different grids. Restore this scan again."))
        grid = facts.ijkToLps()
        yield from writeNrrd(self._path(SCAN), facts.voxels, grid, "unknown")  # the panel knows the factor to SUV
        yield from writeNrrd(self._path(FULL), full, grid, "unknown")
        yield from writeNrrd(self._path(MASK), region.mask, _moved(grid, region), "")
        entry = {"dose": 1.0, "label": jobModule.dose_label(1.0), "as": "mean", "file": FULL}
        told = {} if result.fidelity is None else {"fidelity": result.fidelity}
        with open(self._path(jobModule.REPORT_FILE), "w", encoding="utf-8") as report:
            json.dump({"job": {"input": self._path(SCAN)}, "files": [entry], **told}, report)
        self._worker.start(["measure", self._folder.path, "--mask", self._path(MASK)], self._folder.path)

    def end(self) -> bool:
        """Ends the child without waiting for it; False where there is none, and no onEnd follows."""
        running = self._worker.running
        self._worker.end()
        return running

    def remove(self) -> Iterator[None]:
        """The folder, once the child has ended; yields between its files."""
        for name in (SCAN, FULL, MASK):
            with suppress(OSError):
                os.unlink(self._path(name))
            yield
        self._folder.remove()

    def endAndWait(self) -> None:
        """Ends the child; onEnd is not called any more."""
        self._worker.endAndWait()
        self._folder.remove()

    def _workerEnded(self, exitCode: int, crashed: bool) -> None:
        estimate, message = None, ""
        try:
            if exitCode != jobModule.EXIT_DONE or crashed:
                raise RuntimeError(self._lastWords(exitCode))
            estimate = _read(self._path(ANSWER))
        except (OSError, ValueError, KeyError, TypeError, StopIteration, RuntimeError) as error:
            message = estimateMessage(error)
        self._onEnd(self, estimate, message)

    def _lastWords(self, exitCode: int) -> str:
        lines = self._worker.log.strip().splitlines()
        return lines[-1] if lines else _("it ended with code {code}").format(code=exitCode)

    def _path(self, name: str) -> str:
        return os.path.join(self._folder.path, name)


def _moved(grid: list[list[float]], region: Region) -> list[list[float]]:
    """The grid with its first voxel where the region's box begins."""
    k, j, i = (part.start for part in region.slices)
    return [[*row[:3], row[0] * i + row[1] * j + row[2] * k + row[3]] for row in grid]


def _read(path: str) -> Estimate:
    with open(path, encoding="utf-8") as file:
        row = next(row for row in json.load(file)["rows"] if row["image"] == IMAGE)
    low, high = (float(row[name]) if row[name] != "" else math.nan for name in ("mean_low", "mean_high"))
    return Estimate(float(row["mean"]), low, high, str(row["warning"]))
