"""Python runs this at its start where this folder is in PYTHONPATH: a job then waits where Testing/waiting.py says."""

import importlib.util
import os
import sys
import time

JOBS = "MAPDiffLib.jobs.run_job"


class WaitingJobs:
    """Finds the module of jobs once, and puts the wait around its run_job."""

    def find_spec(self, name, path, target=None):
        if name != JOBS:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def then_wait(module):
            execute(module)
            module.run_job = waiting(module.run_job)

        spec.loader.exec_module = then_wait
        return spec


def waiting(run_job):
    """The same, but after its first message that holds the words of MAPDIFF_TEST_WAIT_AT it goes on only when the file
    MAPDIFF_TEST_WAIT_FOR is there, or when it is cancelled."""
    words, file = os.environ["MAPDIFF_TEST_WAIT_AT"], os.environ["MAPDIFF_TEST_WAIT_FOR"]

    def run(job, report=lambda message: None, cancelled=lambda: False, **options):
        seen = []

        def then_wait(message):
            report(message)
            told = " ".join(str(message[key]) for key in ("type", "message", "dose") if key in message)
            if not seen and words in told:
                seen.append(message)
                while not (os.path.exists(file) or cancelled()):
                    time.sleep(0.01)

        return run_job(job, then_wait, cancelled, **options)

    return run


if "MAPDIFF_TEST_WAIT_AT" in os.environ:
    sys.meta_path.insert(0, WaitingJobs())
