"""Input and restored in turn, in all views, while a button or a key is held: the eye finds what has changed."""

from __future__ import annotations

from collections.abc import Callable

import qt
import slicer

from MAPDiffPanelLib.slider import INPUT_ROLE, RESTORED_ROLE

INTERVAL_MS = 400


class Flicker:
    """show(role): the input in all views, then the restored, and so on; show(None) at the end.

    The input comes at once: a short press compares by hand.
    """

    def __init__(self, show: Callable[[str | None], None]):
        self._show, self._role, self._filter = show, None, None
        self._timer = qt.QTimer()
        self._timer.setInterval(INTERVAL_MS)
        self._timer.connect("timeout()", self._turn)

    def start(self) -> None:
        """Something is held down."""
        if self._role is None:
            self._turn()
            self._timer.start()

    def stop(self) -> None:
        """It was let go."""
        self._timer.stop()
        if self._filter is not None:
            slicer.app.removeEventFilter(self._filter)
            self._filter = None
        if self._role is not None:
            self._role = None
            self._show(None)

    def keyPressed(self) -> None:
        """A key was pressed; the application is listened to until a key is let go, and not a moment longer."""
        if self._filter is None:
            self._filter = _Release(self.stop)
            slicer.app.installEventFilter(self._filter)
        self.start()

    def _turn(self) -> None:
        self._role = RESTORED_ROLE if self._role == INPUT_ROLE else INPUT_ROLE
        self._show(self._role)


class _Release(qt.QObject):
    """Calls back when a key is let go, or the application loses the keyboard."""

    def __init__(self, released: Callable[[], None]):
        qt.QObject.__init__(self)
        self.released = released

    def eventFilter(self, _watched, event):
        """A held key repeats itself: only the last release counts."""
        kind = event.type()
        if kind == qt.QEvent.ApplicationDeactivate or kind == qt.QEvent.KeyRelease and not event.isAutoRepeat():
            qt.QTimer.singleShot(0, self.released)  # a filter must not be removed while it filters
        return False
