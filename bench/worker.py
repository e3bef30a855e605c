"""The background process as the panel sees it: how soon it speaks, how often, how well it foretells its end, and
how soon it ends when it is cancelled."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench.scans import DOSE
from bench.timing import PROJECT
from MAPDiffLib.job import EXIT_CANCELLED


def start_up(repeats: int) -> dict:
    """Seconds to the worker's first message, and of a Python that only imports torch."""
    first, torch = [], []
    for _ in range(repeats):
        started = time.perf_counter()
        with _worker(Path("/none/job.json")) as process:
            process.stdout.readline()
            first.append(time.perf_counter() - started)
            process.communicate()
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import torch"], check=True)
        torch.append(time.perf_counter() - started)
    return {"first_message_s": statistics.median(first), "import_torch_s": statistics.median(torch), "runs": repeats}


def cancelling(scan: Path, folder: Path, bundle: str, device: str, repeats: int) -> dict:
    """Seconds from `cancel`, said after the first progress, to the worker's end."""
    taken = []
    for _ in range(repeats):
        with _worker(_job(scan, folder, bundle, device)) as process:
            while json.loads(process.stdout.readline())["type"] != "progress":
                pass
            started = time.perf_counter()
            process.communicate(b"cancel\n")
            taken.append(time.perf_counter() - started)
        if process.returncode != EXIT_CANCELLED:
            raise RuntimeError(f"the worker ended with code {process.returncode}: too small a scan to be cancelled")
    return {"seconds": statistics.median(taken), "longest_s": max(taken), "runs": repeats}


def progress(scan: Path, folder: Path, bundle: str, device: str) -> dict:
    """One whole job: the longest silence between two lines, and how far remaining_s was off from a third on.

    The error is of the remaining time, counted where at least 2 s remain: what a person watches.
    """
    job, lines = _job(scan, folder, bundle, device), []
    started = time.perf_counter()
    with _worker(job) as process:
        for line in process.stdout:
            lines.append((time.perf_counter() - started, json.loads(line)))
        process.wait()
    if lines[-1][1]["type"] != "done":
        raise RuntimeError(f"the worker ended with {lines[-1][1]}")
    total = lines[-1][0]
    steps = [(at, said) for at, said in lines if said["type"] == "progress"]
    foretold = [
        abs(said["remaining_s"] - (total - at)) / (total - at)
        for at, said in steps
        if said["fraction"] >= 1 / 3 and total - at >= 2
    ]
    gaps = [b - a for (a, _), (b, _) in zip(steps, steps[1:], strict=False)]
    return {
        "seconds": total,
        "lines": len(lines),
        "longest_silence_s": max(gaps, default=0.0),
        "median_silence_s": statistics.median(gaps) if gaps else 0.0,
        "remaining_off": max(foretold, default=0.0),
        "remaining_off_median": statistics.median(foretold) if foretold else 0.0,
    }


def _job(scan: Path, folder: Path, bundle: str, device: str) -> Path:
    content = {"input": str(scan), "output": str(folder / "worker"), "bundle": bundle, "device": device}
    job = folder / "job.json"
    job.write_text(json.dumps({**content, "input_dose": DOSE, "overwrite": True}))
    return job


def _worker(job: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "MAPDiffLib", "worker", str(job)]
    return subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
