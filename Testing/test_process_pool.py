"""Processes that share work: none outlives its program, and an error is not held back until the rest is worked off."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from Testing.waiting import PATIENCE_S, wait_until
from training.process_pool import THREADS, process_pool

PROGRAM = """
import sys, time
from pathlib import Path
from training.process_pool import process_pool

def job(marker):
    Path(marker).touch()
    while True:
        time.sleep(1)

if __name__ == "__main__":
    with process_pool(2) as pool:
        for number in range(6):
            pool.submit(job, f"{sys.argv[1]}/started-{number}")
"""


def waiting(marker: Path, go: Path) -> None:
    wait_until(go.exists)
    marker.touch()


def wrong() -> None:
    raise ValueError("of the first job")


@pytest.mark.parametrize("end", ["terminate", "kill"])
def test_processes_end_with_the_program(tmp_path, end):
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, str(tmp_path / "program.py"), str(tmp_path)]
    found = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}  # training lies in the checkout alone
    with subprocess.Popen(command, env=found, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as program:
        wait_until(lambda: len(list(tmp_path.glob("started-*"))) == 2, program)
        getattr(program, end)()
        program.communicate(timeout=PATIENCE_S)  # the end of a pipe that each of the processes holds open
    assert len(list(tmp_path.glob("started-*"))) == 2


def test_processes_share_the_cores_and_the_program_keeps_its_own(monkeypatch):
    torch = pytest.importorskip("torch")  # here: the other tests' processes do without
    for name in THREADS:
        monkeypatch.delenv(name, raising=False)
    before = dict(os.environ)
    with process_pool(os.cpu_count()) as pool:
        assert pool.submit(torch.get_num_threads).result() == 1
    assert os.environ == before
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    with process_pool(os.cpu_count()) as pool:
        assert pool.submit(os.getenv, "OMP_NUM_THREADS").result() == "3"


def test_an_error_drops_what_waits(tmp_path):
    go = tmp_path / "go"
    with pytest.raises(ValueError, match="of the first job"), process_pool(1) as pool:
        first = pool.submit(wrong)
        others = [pool.submit(waiting, tmp_path / str(number), go) for number in range(20)]
        others[-1].add_done_callback(lambda _: go.touch())  # once it is dropped; what has begun may end then
        first.result()
    assert others[-1].cancelled()
    assert {path.name for path in tmp_path.iterdir()} == {"go"} | {
        str(number) for number, other in enumerate(others) if not other.cancelled()
    }
