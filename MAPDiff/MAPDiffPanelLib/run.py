"""One restoration from the press to its last volume: job folder, worker, doses into the scene, and how it can end.

Whatever happens, it ends once, with onFinished(outcome, message, details), no process and no folder left.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress

import slicer
import vtk
from slicer.i18n import tr as _

from MAPDiffLib import job as jobModule
from MAPDiffPanelLib import outputs
from MAPDiffPanelLib.failure_messages import changedScan, crashMessage, readReport, writeFailure
from MAPDiffPanelLib.idle_tasks import IdleTasks
from MAPDiffPanelLib.job_folder import JobFolder
from MAPDiffPanelLib.process import WorkerProcess
from MAPDiffPanelLib.progress import Progress, doneWords
from MAPDiffPanelLib.scan import ScanFacts, checkScan
from MAPDiffPanelLib.volumefile import writeNrrd

DONE, CANCELLED, FAILED = "done", "cancelled", "failed"
EXTENSION = ".nrrd"


class Listener:
    """What a run tells; override what is of interest. All calls come on the main thread."""

    def onProgress(self, fraction: float, text: str) -> None:
        """fraction 0 to 1; text says the stage and the time left."""

    def onWarning(self, text: str) -> None:
        """Something the user should know while the run goes on."""

    def onDose(self, dose: float, node) -> None:
        """A whole dose is in the scene."""

    def onFinished(self, outcome: str, message: str, details: str) -> None:
        """DONE, CANCELLED or FAILED; message is for the user, details for whoever helps."""


class DenoiseRun:
    """Restores `volumeNode` with the given fields of MAPDiffLib.job.Job. InputError when it cannot start."""

    def __init__(self, volumeNode, choices: dict, listener: Listener):
        checkScan(volumeNode)
        self.scene = volumeNode.GetScene()
        self.facts, self.listener = ScanFacts(volumeNode), listener
        self.resultID = uuid.uuid4().hex
        self.title = _("{name} MAPDiff, {time}").format(name=self.facts.name, time=time.strftime("%d %b %H:%M"))
        self.nodes: dict = {}
        self.drawn: dict = {}  # the scans of a run that makes both
        self.uncertaintyNode = None
        self.inputDose = choices.get("input_dose")
        self.outcome, self.lastWords = None, ("", "")
        self.tasks = IdleTasks()
        self._error, self._ending, self._lastReport = None, None, None
        self._progress = Progress()
        self._jobFolder = JobFolder()
        self._folder = self._jobFolder.path
        try:
            self._job = jobModule.Job(
                input=os.path.join(self._folder, "input" + EXTENSION),
                output=os.path.join(self._folder, "out"),
                format=EXTENSION[1:],
                **choices,
            )
        except ValueError:
            self._jobFolder.remove()
            raise
        self._worker = WorkerProcess(self._lineArrived, self._workerEnded)
        self._observers = [
            (self.scene, self.scene.AddObserver(slicer.vtkMRMLScene.NodeAboutToBeRemovedEvent, self._nodeRemoved)),
            (self.scene, self.scene.AddObserver(slicer.vtkMRMLScene.StartCloseEvent, self._sceneClosing)),
        ]

    @property
    def running(self) -> bool:
        """Until onFinished."""
        return self.outcome is None

    @property
    def processID(self) -> int:
        """Of the worker, 0 while there is none."""
        return int(self._worker.process.processId()) if self._worker.running else 0

    def start(self) -> None:
        """Returns at once."""
        self.listener.onProgress(0.0, _("Handing the scan to the worker"))
        self.tasks.add(self._begin(), self._failedBeforeStart)

    def cancel(self) -> None:
        """Asks the worker to stop; onFinished follows within three seconds. Doses that have arrived stay."""
        if self.running and self._ending is None:
            self._ending = CANCELLED
            self.listener.onProgress(0.0, _("Stopping"))
            self._stopWorker()

    def stopNow(self) -> None:
        """For quitting and reloading: the worker is ended, nobody is told anything any more."""
        if self.running:
            self.listener = Listener()
            self._finish(CANCELLED, "", "")

    def _stopWorker(self) -> None:
        if self._worker.running:
            self._worker.cancel()
        else:
            self._endWhenRead()

    def _begin(self) -> Iterator[None]:
        facts = self.facts
        yield from writeNrrd(self._job.input, facts.voxels, facts.ijkToLps(), facts.unitsCode)
        path = jobModule.write_job(self._job, os.path.join(self._folder, "job.json"))
        if self._ending is None:
            self._worker.start(["worker", str(path)], self._folder)
        yield

    def _failedBeforeStart(self, error: Exception) -> None:
        self._finish(FAILED, *writeFailure(error, self._folder))

    def _lineArrived(self, line: str) -> None:
        message = jobModule.decode_message(line)
        if message is None or not self.running:
            return
        kind = message["type"]
        if kind == "dose":
            self.tasks.add(self._receive(message), self._receiveFailed)
        elif kind == "error":
            self._error = (self._named(message.get("message")), str(message.get("details") or ""))
        elif self._ending is None:  # what comes after a cancel is late
            self._tell(kind, message)

    def _tell(self, kind: str, message: dict) -> None:
        self.inputDose = message.get("input_dose") or self.inputDose
        if kind == "status":
            self.listener.onProgress(0.0, self._named(message.get("message")))
        elif kind == "warning":
            self.listener.onWarning(self._named(message.get("message")))
        elif kind == "progress":
            fraction = min(1.0, max(0.0, float(message.get("fraction") or 0)))
            self.listener.onProgress(fraction, self._progress.words(message))

    def _named(self, words: object) -> str:
        """The worker's words with the scan's own name in place of the file that was written for the worker."""
        text = str(words)
        for written in (self._job.input, os.path.basename(self._job.input)):
            text = text.replace(written, self.facts.name)
        return text

    def _receive(self, message: dict) -> Iterator[None]:
        """One dose from its file into the scene."""
        loaded = outputs.LoadedVolume(self.facts)
        yield from loaded.read(str(message["file"]))
        with suppress(OSError):  # now, for five whole volumes at the end take long; what is left goes with the folder
            os.unlink(str(message["file"]))
        yield
        while self.scene.IsBatchProcessing() and self._ending is None:
            yield
        if self._ending == "closing":
            return
        self.inputDose = message.get("input_dose") or self.inputDose
        dose, drawn = float(message["dose"]), message.get("as") == "scan"
        attributes = outputs.doseAttributes(
            self.resultID, self.title, dose, self.inputDose, message.get("figures") or {}, drawn
        )
        name = outputs.doseName(self.facts.name, dose, drawn)
        node = yield from loaded.addTo(self.scene, name, attributes)
        (self.drawn if drawn and self._job.doses_as == "both" else self.nodes)[dose] = node
        yield
        self.listener.onDose(dose, node)
        yield

    def _receiveFailed(self, error: Exception) -> None:
        if self._error is None:
            self._error = writeFailure(error, self._folder)
        self._ending = self._ending or FAILED
        self._worker.cancel()

    def _workerEnded(self, exitCode: int, crashed: bool) -> None:
        if self._ending is None:
            if exitCode == jobModule.EXIT_DONE and not crashed:
                self._ending = DONE
            else:
                self._ending = FAILED
                self._error = self._error or (crashMessage(exitCode, crashed, self._worker.log), self._worker.log)
        self._endWhenRead()

    def _endWhenRead(self) -> None:
        """After the doses that are still being read."""
        self.tasks.add(self._complete(), lambda error: self._finish(FAILED, *writeFailure(error, self._folder)))

    def _complete(self) -> Iterator[None]:
        if self._ending == DONE:
            report = readReport(os.path.join(self._job.output, jobModule.REPORT_FILE))
            yield from self._readUncertainty()
            self._noteReport(report)
        yield
        self._finish(self._ending, *self._lastWords())

    def _lastWords(self) -> tuple[str, str]:
        if self._ending == FAILED:
            return self._error or (_("The restoration failed."), self._worker.log)
        if self._ending == CANCELLED and self.nodes:
            return _("Cancelled. The doses that had arrived stay."), ""
        if self._ending == CANCELLED:
            return _("Cancelled."), ""
        return doneWords(len(self.nodes), len(self.drawn)) + (" " + changedScan() if self.facts.changed else ""), ""

    def _readUncertainty(self) -> Iterator[None]:
        path = os.path.join(self._job.output, jobModule.uncertainty_file(EXTENSION))
        if os.path.exists(path):
            loaded = outputs.LoadedVolume(self.facts)
            yield from loaded.read(path)
            attributes = {outputs.RESULT: self.resultID, outputs.KIND: outputs.KIND_UNCERTAINTY}
            name = outputs.uncertaintyName(self.facts.name)
            self.uncertaintyNode = yield from loaded.addTo(self.scene, name, attributes)

    def _noteReport(self, report: dict) -> None:
        """What only the end tells: the scan's own dose and how sure it is; the result is whole."""
        facts = report.get("input") or {}
        self.inputDose = facts.get("dose_used") or self.inputDose
        self._lastReport = report
        for node in [*self.nodes.values(), *self.drawn.values()]:
            if self.inputDose:
                node.SetAttribute(outputs.INPUT_DOSE, repr(float(self.inputDose)))
            if isinstance(report.get("places"), list):
                node.SetAttribute(outputs.PLACES, json.dumps(report["places"]))
            if isinstance(report.get("fidelity"), dict):
                node.SetAttribute(outputs.FIDELITY, json.dumps(report["fidelity"]))
            node.SetAttribute(outputs.COMPLETE, "1")

    @property
    def report(self) -> dict:
        """The worker's report.json, {} before the end."""
        return self._lastReport or {}

    @property
    def inputFacts(self) -> dict:
        """What the worker took the scan for (dose_used, dose_assumed, dose_hint of report.json), {} before the end."""
        return self.report.get("input") or {}

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _nodeRemoved(self, _scene, _event, node) -> None:
        if not self.running:
            return
        if node is self.facts.node:
            if self._ending is None:
                self._ending = FAILED
                self._error = (
                    _("The scan was removed while it was being restored, so the run was stopped. "
                      "The doses that had arrived stay; load the scan again to start anew."), "",
                )  # fmt: skip
                self._stopWorker()
        else:
            self.nodes = {dose: kept for dose, kept in self.nodes.items() if kept is not node}
            self.drawn = {dose: kept for dose, kept in self.drawn.items() if kept is not node}

    def _sceneClosing(self, _scene, _event) -> None:
        """The user has closed the scene: nothing must be added to the next one."""
        self._ending = "closing"
        self._finish(CANCELLED, _("The scene was closed, so the run was stopped."), "")

    def _finish(self, outcome: str, message: str, details: str) -> None:
        if not self.running:
            return
        self.outcome, self.lastWords = outcome, (message, details)
        for caller, tag in self._observers:
            caller.RemoveObserver(tag)
        self.tasks.clear()
        if self._worker.running:
            self._worker.endAndWait()
        self._jobFolder.remove()
        self.listener.onFinished(outcome, message, details)
