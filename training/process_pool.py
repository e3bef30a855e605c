"""Independent work in several processes, which never outlives the program that asked for it."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import wait

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")  # read by numerical libraries when loaded


@contextmanager
def process_pool(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """`jobs` fresh processes that share the cores. What an error inside the block leaves waiting is dropped, not worked
    off before it shows; when this program is ended, even by a signal that it cannot catch, its processes end with it.
    """
    # Threads of several processes on one core wait for each other by spinning: a third of a simulated case's time.
    chosen = any(name in os.environ for name in THREADS)
    ours = {} if chosen else dict.fromkeys(THREADS, str(max(1, (os.cpu_count() or 1) // jobs)))
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), initializer=_end_with_parent)
    os.environ.update(ours)
    try:
        yield pool
    except BaseException:
        pool.shutdown(cancel_futures=True)
        raise
    finally:
        for name in ours:
            os.environ.pop(name, None)
    pool.shutdown()


def _end_with_parent() -> None:
    """Results are written whole and then renamed, so a process may end anywhere."""
    parent = multiprocessing.parent_process().sentinel

    def watch() -> None:
        wait([parent])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
