"""How far a run is, in words: the stage, the time left and why it grows, what has come in the end."""

from __future__ import annotations

import os
import time

from slicer.i18n import tr as _

LATE, LATE_S = 1.2, 3.0  # times the first estimate and seconds beyond it: an estimate is that unsteady by itself


class Progress:
    """Of one run; remembers when it was to end at first."""

    def __init__(self):
        self._due = None

    def words(self, message: dict) -> str:
        """ "1/4 dose, 4 s left", and why, once that is later than was said at first."""
        stage, seconds = str(message.get("stage") or ""), message.get("remaining_s")
        if seconds is None:
            return stage
        left = _("{minutes} min left").format(minutes=round(seconds / 60)) if seconds >= 90 else _("{seconds} s left")
        text = f"{stage}, " + left.format(seconds=max(1, round(seconds)))
        return text + _(" (other programs go first)") if self._late(seconds) and lowPriority() else text

    def _late(self, seconds: float) -> bool:
        now = time.monotonic()
        if self._due is None:
            self._due = now + LATE * seconds + LATE_S
        return now + seconds > self._due


def lowPriority() -> bool:
    """Slicer on Linux gives itself the lowest priority (nice 19), and its worker has it from there."""
    return hasattr(os, "getpriority") and os.getpriority(os.PRIO_PROCESS, 0) > 0


def doneWords(count: int, drawn: int = 0) -> str:
    """ "Done: 4 doses." or "Done: 4 doses, and 4 drawn as scans."."""
    text = _("Done: 1 dose") if count == 1 else _("Done: {count} doses").format(count=count)
    if drawn:
        text += _(", and 1 drawn as a scan") if drawn == 1 else _(", and {count} drawn as scans").format(count=drawn)
    return text + "."
