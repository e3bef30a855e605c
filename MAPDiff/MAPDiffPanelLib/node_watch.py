"""Many events of nodes, one call on a later turn of the event loop.

Nodes come into a scene before their voxels and units do, and a dragged ROI is modified sixty times a second.
"""

from __future__ import annotations

from collections.abc import Callable

import qt


class NodeWatch:
    """Calls `changed()` at most once in `interval_ms`, and always once after the last event."""

    def __init__(self, changed: Callable[[], None], interval_ms: int = 0):
        self._observed: list[tuple] = []  # (object, tag)
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(interval_ms)
        self._timer.connect("timeout()", changed)

    def watch(self, observed: list[tuple]) -> None:
        """Of these alone: (VTK object, its events)."""
        if {id(watched) for watched, _events in observed} == {id(watched) for watched, _tag in self._observed}:
            return
        self._leave()
        for watched, events in observed:
            self._observed += [(watched, watched.AddObserver(event, self._event)) for event in events]

    def poke(self) -> None:
        """As if a watched node had been modified."""
        if not self._timer.active:
            self._timer.start()

    @property
    def waiting(self) -> bool:
        """Whether a call is due."""
        return self._timer.active

    def release(self) -> None:
        """Nothing is watched, and nobody is called any more."""
        self._timer.stop()
        self._leave()

    def _leave(self) -> None:
        for watched, tag in self._observed:
            watched.RemoveObserver(tag)
        self._observed = []

    def _event(self, _caller, _event) -> None:
        self.poke()
