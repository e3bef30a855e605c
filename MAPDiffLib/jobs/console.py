"""Messages as a person reads them: a progress bar on a terminal, plain lines elsewhere; all on standard error."""

from __future__ import annotations

import sys

from MAPDiffLib.job import counts_label, dose_title


class Console:
    """`report` takes the messages of a job; used as a context so that the bar is always closed."""

    def __enter__(self) -> Console:
        self._bar = _bar() if sys.stderr.isatty() else None
        return self

    def __exit__(self, *_) -> None:
        if self._bar is not None:
            self._bar.close()

    def report(self, message: dict) -> None:
        """Shows one message of `run_job`."""
        kind = message["type"]
        if kind == "progress":
            self._progress(message)
        elif kind == "dose":
            counts = counts_label(message["dose"], message["input_dose"])
            self._line(f"{dose_title(message['dose'], message['as'] == 'scan'):>10} ({counts})  {message['file']}")
        else:
            self._line(("warning: " if kind == "warning" else "") + message["message"])

    def _progress(self, message: dict) -> None:
        if self._bar is not None:
            self._bar.set_description_str(message.get("stage", ""), refresh=False)
            self._bar.update(message["fraction"] - self._bar.n)

    def _line(self, text: str) -> None:
        if self._bar is None:
            print(text, file=sys.stderr, flush=True)
        else:
            self._bar.write(text, file=sys.stderr)


class BatchConsole:
    """One bar for many scans on a terminal, a line a scan elsewhere; what failed is always told."""

    def __init__(self, total: int | None = None):
        self.total, self.count = total, 0

    def __enter__(self) -> BatchConsole:
        from tqdm import tqdm

        self._bar = tqdm(total=self.total, unit="scan", file=sys.stderr) if sys.stderr.isatty() else None
        return self

    def __exit__(self, *_) -> None:
        if self._bar is not None:
            self._bar.close()

    def ended(self, name: str, what: str) -> None:
        """Shows that a scan has ended: `what` is "done" or why it failed."""
        self.count += 1
        if self._bar is None:
            print(f"{self.count}/{self.total or '?'} {name}: {what}", file=sys.stderr, flush=True)
            return
        self._bar.update()
        if what != "done":
            self._bar.write(f"{name}: {what}", file=sys.stderr)


def _bar():
    from tqdm import tqdm

    shape = "{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"
    return tqdm(total=1.0, file=sys.stderr, bar_format=shape, leave=False)
