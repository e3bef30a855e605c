"""The SUV factor of a PET series that Slicer's DICOM module has loaded: asked of the worker, kept with the volume.

That module sets units for CT and MR only. The files are found through the DICOM database, the worker reads their
headers by MAPDiffLib's rules, and the volume's voxels stay as they are.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator

import slicer

from MAPDiffPanelLib.idle_tasks import IdleTasks
from MAPDiffPanelLib.job_folder import JobFolder
from MAPDiffPanelLib.process import WorkerProcess
from MAPDiffPanelLib.units import SUV_FACTS, codeOf, isSuv

INSTANCES = "DICOM.instanceUIDs"


class SuvLookup:
    """Asks once for each volume; the answer is the volume's attribute SUV_FACTS, so that a saved scene has it too."""

    def __init__(self):
        self._tasks, self._asked = IdleTasks(), set()
        self._folder = self._worker = None

    def follow(self, node) -> None:
        """Returns at once; a question about another volume is dropped."""
        if node is None or node.GetID() in self._asked or not _lacksUnits(node):
            return
        self.stopNow()
        self._asked.add(node.GetID())
        self._tasks.add(self._ask(node), self._failed)

    def stopNow(self) -> None:
        """For quitting, reloading and closing the scene: no process and no folder is left."""
        self._tasks.clear()
        self._asked.clear()
        self._end()

    @property
    def busy(self) -> bool:
        """Whether an answer is on its way."""
        return self._tasks.busy or self._worker is not None

    @property
    def processID(self) -> int:
        """Of the worker, 0 while there is none."""
        return int(self._worker.process.processId()) if self._worker is not None else 0

    def _ask(self, node) -> Iterator[None]:
        files, database = [], slicer.dicomDatabase
        for uid in node.GetAttribute(INSTANCES).split():
            files.append(str(database.fileForInstance(uid) or ""))
            yield  # each is a query
        if not all(files):
            return
        self._folder, lines = JobFolder(), []
        path = os.path.join(self._folder.path, "files.txt")
        with open(path, "w", encoding="utf-8") as file:
            file.write("\n".join(files) + "\n")
        self._worker = WorkerProcess(lines.append, lambda code, crashed: self._answer(node, lines))
        self._worker.start(["suv", "@" + path, "--json"], self._folder.path)

    def _failed(self, error: Exception) -> None:
        """Units stay unknown; the scan can be restored without."""
        logging.warning("MAPDiff: the series' files could not be asked for their units: %s", error)
        self._end()

    def _answer(self, node, lines: list[str]) -> None:
        self._end()
        for line in lines:
            try:
                facts = json.loads(line)
            except ValueError:
                continue
            if isinstance(facts, dict) and node.GetScene() is slicer.mrmlScene:
                node.SetAttribute(SUV_FACTS, json.dumps(facts))

    def _end(self) -> None:
        if self._worker is not None and self._worker.running:
            self._worker.endAndWait()
        if self._folder is not None:
            self._folder.remove()
        self._worker = self._folder = None


def _lacksUnits(node) -> bool:
    """Whether the volume came from DICOM files that are at hand, and says nothing of SUV."""
    known = isSuv(codeOf(node)) or node.GetAttribute(SUV_FACTS)
    return bool(not known and node.GetAttribute(INSTANCES) and getattr(slicer, "dicomDatabase", None))
