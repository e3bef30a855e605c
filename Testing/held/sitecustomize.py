"""Python runs this at its start where this folder is in PYTHONPATH: a function waits where Testing/waiting.py says.

MAPDIFF_TEST_WAIT is JSON: {"module", "function", "words", "after", "file"}. The function is called as ever, but for
"words" null its calls after the first `after` wait before they begin until the file is there; with words it is a
job's, and waits after its first message that holds them (in all jobs that come there but the first `after`).
"""

import importlib.util
import json
import os
import sys
import time


class Waiting:
    """Finds the module once, and puts the wait around its function."""

    def __init__(self, module, function, words, after, file):
        self.module, self.function, self.words, self.left, self.file = module, function, words, after, file

    def find_spec(self, name, path, target=None):
        if name != self.module:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def then_wrap(module):
            execute(module)
            wrap = self.before if self.words is None else self.within
            setattr(module, self.function, wrap(getattr(module, self.function)))

        spec.loader.exec_module = then_wrap
        return spec

    def lets_pass(self):
        self.left -= 1
        return self.left >= 0

    def wait(self, cancelled=lambda: False):
        while not (os.path.exists(self.file) or cancelled()):
            time.sleep(0.01)

    def before(self, function):
        def call(*arguments, **named):
            if not self.lets_pass():
                self.wait()
            return function(*arguments, **named)

        return call

    def within(self, run_job):
        def call(job, report=lambda message: None, cancelled=lambda: False, **options):
            come = False

            def then_wait(message):
                nonlocal come
                report(message)
                told = " ".join(str(message[key]) for key in ("type", "message", "dose") if key in message)
                if not come and self.words in told:
                    come = True
                    if not self.lets_pass():
                        self.wait(cancelled)

            return run_job(job, then_wait, cancelled, **options)

        return call


if "MAPDIFF_TEST_WAIT" in os.environ:
    sys.meta_path.insert(0, Waiting(**json.loads(os.environ["MAPDIFF_TEST_WAIT"])))
