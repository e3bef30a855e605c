"""Training under torchrun survives the death of any of its processes: the next run ends as one process does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from MAPDiffLib.model.network import NetworkConfig
from Testing import tiny
from Testing.waiting import PATIENCE_S, WaitingCall, wait_until
from training.cases.case_file import find_cases
from training.config import TrainConfig
from training.run_folder import CHECKPOINT
from training.train import averaged_weights, train

ROOT = Path(__file__).parent.parent
CONFIG = TrainConfig(
    name="tiny", network=NetworkConfig(widths=(4, 8), embedding=16), patch=16, batch=4, iterations=9, warmup=2,
    checkpoint_every=3, input_doses={0.05: 1.0}, mode="path", path_share=0.5,
    error="squares",  # the sign of an absolute error enlarges the last bits of sums
)  # fmt: skip
pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the processes through /proc")


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """Two small cases and the configuration: nine iterations, a checkpoint every three."""
    folder = tmp_path_factory.mktemp("kill")
    for number in range(2):
        tiny.tiny_case(folder / "cases" / f"case-{number}", number)  # alike at every dose, its gradients were rounding
    (folder / "tiny.json").write_text(CONFIG.to_json())
    return folder


def start(folder: Path, output: Path, environment=(), options=()) -> subprocess.Popen:
    """Two processes; what they say is kept beside `output`."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *options]
    command += ["-m", "training"]
    command += ["train", "--config", str(folder / "tiny.json"), "--cases", str(folder / "cases")]
    with said(output).open("ab") as log:
        return subprocess.Popen(
            [*command, "--output", str(output)], cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1"} | dict(environment), stdout=log, stderr=log,
        )  # fmt: skip


def said(output: Path) -> Path:
    return output.with_suffix(".log")


def ended(process: subprocess.Popen) -> int:
    """The exit code; a run that does not end is ended, with its children, so that nothing stays behind."""
    try:
        process.wait(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        for pid in (*ranks(process).values(), process.pid):
            os.kill(pid, signal.SIGKILL)
        process.wait()
    return process.returncode


def ranks(torchrun: subprocess.Popen) -> dict[int, int]:
    """{rank: process id} of torchrun's own children."""
    found = {}
    for pid in Path(f"/proc/{torchrun.pid}/task/{torchrun.pid}/children").read_text().split():
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        rank = [entry.partition(b"=")[2] for entry in environment if entry.startswith(b"RANK=")]
        if rank:
            found[int(rank[0])] = int(pid)
    return found


def iteration(output: Path) -> int:
    if not (output / CHECKPOINT).exists():
        return 0
    return torch.load(output / CHECKPOINT, map_location="cpu", weights_only=True)["iteration"]


@pytest.fixture(scope="module")
def unhurt(run_folder):
    """Of one process, which nobody kills."""
    return averaged_weights(train(CONFIG, find_cases(run_folder / "cases"), run_folder / "unhurt"))


@pytest.mark.parametrize("rank", [0, pytest.param(1, marks=pytest.mark.long)])
def test_a_killed_process_ends_the_run_and_the_next_one_goes_on_from_the_last_checkpoint(run_folder, unhurt, rank):
    output = run_folder / f"hurt-{rank}"
    process = start(run_folder, output, WaitingCall("training.train", "_save", run_folder, after=2).environment)
    wait_until(lambda: iteration(output) == 6, process)
    os.kill(ranks(process)[rank], signal.SIGKILL)
    assert ended(process) not in (0, -signal.SIGKILL)  # the others do not wait for the dead one for ever
    assert iteration(output) == 6
    # What a kill in the middle of saving leaves beside the last whole checkpoint.
    half = output / f".{CHECKPOINT}.0123456789ab.partial.ckpt"
    half.write_bytes((output / CHECKPOINT).read_bytes()[:1000])
    # What two processes can lose to another program, a port say, torchrun tries again.
    again = start(run_folder, output, options=("--max-restarts", "3"))
    assert ended(again) == 0, said(output).read_text(errors="replace")[-4000:]
    assert iteration(output) == CONFIG.iterations and not half.exists()
    assert "Starting with 2 processes" in said(output).read_text(errors="replace")
    hurt = averaged_weights(output / CHECKPOINT)
    for name, value in unhurt.items():
        assert torch.allclose(hurt[name], value, atol=1e-5), name
