"""Long work on Slicer's main thread in small steps, so that no step is felt.

Threads are no way out: Slicer's Python threads only advance while the main thread runs Python.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import qt

BUDGET_S = 0.010  # a step stops after this long; the piece of work between two yields should take far less


class IdleTasks:
    """Runs generators one after the other, a few milliseconds per turn of the event loop.

    A generator that raises ends there; its `onError` gets the exception and the next generator goes on.
    """

    def __init__(self):
        self._queue: list[tuple[Iterator, Callable[[Exception], None]]] = []
        self._current = None  # the generator whose step is being run
        self._timer = qt.QTimer()
        self._timer.setInterval(0)
        self._timer.connect("timeout()", self._turn)

    @property
    def busy(self) -> bool:
        """Whether any work is left."""
        return bool(self._queue)

    def add(self, work: Iterator, onError: Callable[[Exception], None]) -> None:
        """Puts a generator at the end of the queue."""
        self._queue.append((work, onError))
        self._timer.start()

    def clear(self) -> None:
        """Forgets all work; generators are closed, so that their `finally` runs. May be called from within a step."""
        self._timer.stop()
        queue, self._queue = self._queue, []
        for work, _onError in queue:
            if work is not self._current:
                work.close()

    def _turn(self) -> None:
        began = time.perf_counter()
        while self._queue and time.perf_counter() - began < BUDGET_S:
            self._step(*self._queue[0])
        if not self._queue:
            self._timer.stop()

    def _step(self, work: Iterator, onError: Callable[[Exception], None]) -> None:
        self._current, failure = work, None
        try:
            next(work)
        except StopIteration:
            self._drop(work)
        except Exception as error:
            self._drop(work)
            failure = error
        finally:
            self._current = None
        if failure is not None:
            onError(failure)
        elif not any(work is queued for queued, _onError in self._queue):
            work.close()  # it has ended, or its own step cleared the queue

    def _drop(self, work: Iterator) -> None:
        """The step itself may have cleared the queue meanwhile."""
        if self._queue and self._queue[0][0] is work:
            del self._queue[0]
