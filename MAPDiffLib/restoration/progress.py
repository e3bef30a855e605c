"""How far a restoration is, as progress messages."""

from __future__ import annotations

import time
from collections.abc import Callable


class Progress:
    """Turns what is done of the network's evaluations into messages: fraction, what comes next, seconds left.

    The first tile does not count for the pace: noise is drawn and kernels are built in its time.
    """

    def __init__(self, report: Callable[[dict], None], evaluations: int, stage: str, finishing_s: float = 0.0):
        """stage: what the evaluations lead to; finishing_s: what is still to be done after the last one."""
        self.report, self.evaluations, self.stage, self.finishing_s = report, evaluations, stage, finishing_s
        self.finished, self.done, self.first, self.working_s, self.mark = 0, 0.0, 0.0, 0.0, time.monotonic()

    def evaluating(self, share: float) -> None:
        """`share` of the evaluation under way is done; where it began again, what was told stays told."""
        done = min(1.0, (self.finished + share) / self.evaluations)
        if done <= self.done:
            return
        before, self.mark = self.mark, time.monotonic()
        seconds = self.mark - before
        self.done = done
        if self.first:
            self.working_s += seconds
            pace = self.working_s / (done - self.first)
        else:
            self.first, pace = done, seconds / done
        remaining_s = (1 - done) * pace + self.finishing_s
        told = {"fraction": round(done, 4), "stage": self.stage, "remaining_s": round(remaining_s, 1)}
        self.report({"type": "progress", **told})

    def evaluated(self) -> None:
        """The evaluation under way has ended."""
        self.finished += 1
