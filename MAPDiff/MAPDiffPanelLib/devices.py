"""What the worker can compute on: asked of a child process, for torch must not be loaded here."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable

from slicer.i18n import tr as _

from MAPDiffPanelLib.process import WorkerProcess

AUTO, CPU = "auto", "cpu"


class DeviceProbe:
    """Asks once: onAnswer(facts), facts {} when there was no usable answer."""

    def __init__(self, onAnswer: Callable[[dict], None]):
        self._onAnswer, self._lines = onAnswer, []
        self._worker = WorkerProcess(self._lines.append, self._ended)
        self.asked = False

    def ask(self) -> None:
        """Returns at once; a second call does nothing."""
        if not self.asked:
            self.asked = True
            self._worker.start(["probe"], tempfile.gettempdir())

    def stopNow(self) -> None:
        """For quitting and reloading."""
        self._worker.endAndWait()

    def _ended(self, _exitCode: int, _crashed: bool) -> None:
        text = "\n".join(self._lines)
        try:
            facts = json.loads(text[text.index("{") :])
        except ValueError:
            facts = {}
        self._onAnswer(facts if isinstance(facts, dict) else {})


def choices(facts: dict) -> list[tuple[str, str]]:
    """(device, label) for the list: auto and CPU always, then each GPU."""
    found = [(AUTO, _("auto (a GPU if there is one)")), (CPU, _("CPU"))]
    for device in facts.get("devices") or []:
        if str(device.get("device", "")).startswith("cuda") and not device.get("problem"):
            memory = float(device.get("memory_bytes") or 0) / 1e9
            found.append((device["device"], f"{device.get('name') or device['device']} ({memory:.0f} GB)"))
    return found
