"""A batch on several GPUs or machines: Dask's distributed scheduler hands out the scans, one by one.

Dask because it is plain Python, needs no service beside itself, gives a dead worker's scan to another worker, and runs
under Slurm, Kubernetes or SSH as they are. The workers must see the same folders. Its messages are pickled: only in a
network where everyone may run code.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from MAPDiffLib.errors import Cancelled, InputError
from MAPDiffLib.job import Job
from MAPDiffLib.jobs.run_job import restore_item

CONNECT_S, POLL_S = 20, 0.5


@contextmanager
def on_cluster(jobs: list[Job], scheduler: str, cancelled: Callable[[], bool]) -> Iterator[Iterator]:
    """(job, None or its error) for each job as it ends on a worker. InputError when no scheduler answers.

    `scheduler` is an address (tcp://host:8786) or the path of a scheduler file.
    """
    try:
        from distributed import Client
    except ImportError:
        raise InputError("several machines need Dask: pip install 'mapdiff[cluster]'") from None
    where = {"scheduler_file": scheduler} if Path(scheduler).is_file() else {"address": scheduler}
    try:
        client = Client(**where, timeout=CONNECT_S, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise InputError(f"no Dask scheduler answers at {scheduler} ({error}): start `dask scheduler`.") from None
    with client:
        yield _ended(client, jobs, cancelled)


def _ended(client, jobs: list[Job], cancelled: Callable[[], bool]) -> Iterator[tuple[Job, BaseException | None]]:
    # The output is the key: a scan is one task, whoever asks for it.
    futures = {client.submit(restore_item, job.to_dict(), key=f"mapdiff {job.output}", pure=False): job for job in jobs}
    while futures:
        if cancelled():
            client.cancel(list(futures))
            raise Cancelled("cancelled")
        ended = [future for future in futures if future.done()]
        for future in ended:
            yield futures.pop(future), future.exception() if future.status == "error" else None
        if not ended:
            time.sleep(POLL_S)
