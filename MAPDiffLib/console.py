"""Messages as a person reads them: a progress bar on a terminal, plain lines elsewhere; all on standard error."""

from __future__ import annotations

import sys

from MAPDiffLib.job import dose_label


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
            self._line(f"{dose_label(message['dose']):>5} dose  {message['file']}")
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


def _bar():
    from tqdm import tqdm

    shape = "{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"
    return tqdm(total=1.0, file=sys.stderr, bar_format=shape, leave=False)
