"""The background process: runs one job.json, speaks JSON lines on standard output, listens on standard input.

Standard output carries messages and nothing else: file descriptor 1 itself is turned to standard error at the start, so
that prints of libraries, also those in C, go to the log. The line `cancel`, or the end of standard input, cancels: the
worker never outlives the program that started it.
"""

from __future__ import annotations

import io
import threading
import time
import traceback
from typing import TextIO

from MAPDiffLib.errors import Cancelled, InputError, says_out_of_memory
from MAPDiffLib.job import EXIT_BAD_INPUT, EXIT_CANCELLED, EXIT_DONE, EXIT_FAILED, encode_message, read_job
from MAPDiffLib.jobs.channel import claim_stdout
from MAPDiffLib.jobs.run_job import cancel_on_signals, run_job

SILENCE_S = 0.7  # after which the progress is said again


def work(job_path: str) -> int:
    """Runs the job and returns its exit code: 0 done, 1 failed, 2 bad job or input, 3 cancelled."""
    channel = io.TextIOWrapper(claim_stdout(), encoding="ascii", newline="\n")
    with cancel_on_signals() as cancelled:
        threading.Thread(target=_listen, args=(cancelled,), daemon=True).start()
        return _run(job_path, channel, cancelled)


def _run(job_path: str, channel: TextIO, cancelled: threading.Event) -> int:
    voice = _Voice(channel)
    try:
        voice.say({"type": "status", "message": "Starting"})
        path = run_job(read_job(job_path), voice.say, cancelled.is_set)
        voice.say({"type": "done", "status": "done", "report": str(path)})
        return EXIT_DONE
    except Cancelled:
        return voice.last_word({"type": "done", "status": "cancelled"}, EXIT_CANCELLED)
    except InputError as error:
        return voice.last_word({"type": "error", "message": str(error), "details": ""}, EXIT_BAD_INPUT)
    except Exception as error:  # the one place where anything unforeseen becomes a message
        message = {"type": "error", "message": _failure(error), "details": traceback.format_exc()}
        return voice.last_word(message, EXIT_FAILED)


def _failure(error: Exception) -> str:
    """What happened, for the user; torch and Python say with a plain RuntimeError that the main memory is full."""
    if isinstance(error, MemoryError) or says_out_of_memory(str(error)):
        return (
            "Memory ran out. The doses that had arrived stay. Close other programs, or choose fewer samples, and start "
            "again."
        )
    return f"The restoration failed: {type(error).__name__}: {error}"


class _Voice:
    """Says messages, a line each. Between two that are far apart it repeats the progress, with less time remaining: a
    large tile or a large file takes seconds, and who watches should see that the job lives."""

    def __init__(self, channel: TextIO):
        self._channel, self._lock = channel, threading.Lock()
        self._progress, self._said_at = None, time.monotonic()
        threading.Thread(target=self._repeat, daemon=True).start()

    def say(self, message: dict) -> None:
        """Sends a message. Cancelled when nobody reads any more."""
        with self._lock:
            if message["type"] in ("done", "error"):
                self._progress = None
            elif message["type"] == "progress":
                self._progress = message
            self._write(message)

    def last_word(self, message: dict, code: int) -> int:
        """Says a final message and returns `code`, or that of a cancelled job when nobody reads any more."""
        try:
            self.say(message)
        except Cancelled:
            return EXIT_CANCELLED
        return code

    def _repeat(self) -> None:
        while True:
            time.sleep(SILENCE_S / 4)
            with self._lock:
                silent = time.monotonic() - self._said_at
                if self._progress is None or silent < SILENCE_S:
                    continue
                self._progress["remaining_s"] = round(max(0.0, self._progress["remaining_s"] - silent), 1)
                try:
                    self._write(self._progress)
                except Cancelled:  # the job itself notices when it next speaks
                    return

    def _write(self, message: dict) -> None:
        try:
            self._channel.write(encode_message(message))
            self._channel.flush()
        except OSError as error:
            raise Cancelled("nobody reads the messages any more") from error
        self._said_at = time.monotonic()


def _listen(cancelled: threading.Event) -> None:
    """Sets the event at the line `cancel` or at the end of standard input."""
    try:
        # Raw, not sys.stdin: a thread waiting in its buffer would hold a lock that the interpreter needs to end.
        with open(0, "rb", buffering=0, closefd=False) as lines:
            for line in iter(lambda: lines.readline(1000), b""):
                if line.strip() == b"cancel":
                    break
    finally:  # an unreadable standard input has ended too
        cancelled.set()
