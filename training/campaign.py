"""A training against the clock, on a machine with nothing but the checkout: cases are simulated while it trains.

Two runs of train.train, each an ordinary folder. `early` begins as soon as the first cases are there. When all are, or
half of the time is gone, `late` takes up what there is then, from early's averaged weights, with as many iterations as
fit into the rest. Each keeps the names of its cases: the same command goes on where it was stopped.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from MAPDiffLib.errors import InputError
from MAPDiffLib.files import write_json
from training import CHECKOUT
from training.cases.cache import FACTS_CACHE
from training.config import TrainConfig
from training.export.bundle import bundle_with_weights
from training.run_folder import CHECKPOINT, CONFIG
from training.train import load_run, train

EARLY, LATE, CASES, SIMULATION_LOG, CASE_NAMES = "early", "late", "cases", "simulate.log", "cases.json"
LESIONS = "30-50"  # in the bodies of the second half of the seeds
END_S = 30.0  # of the time are kept for the last checkpoint and the bundle
PACED = 40  # iterations that early makes with the machine to itself, to know how many late can make
SAFE = 0.95  # of what late could make at early's pace
ENOUGH_LEFT = 0.5  # of the time: with less, early ends whether all cases are there or not
LOOK_S = 1.0  # between two looks at what the simulation has made


@dataclass(frozen=True)
class Campaign:
    """config: of both runs, its iterations the most that either makes; start_from: a bundle. seeds: of the cases, the
    second half rich in lesions; first: so many are waited for; jobs: cases at a time."""

    output: Path
    config: TrainConfig
    start_from: Path
    seeds: Sequence[int]
    first: int
    size: str = "full"
    tumours: Path | None = None
    jobs: int = 1

    def __post_init__(self):
        if len(self.seeds) < 2:
            raise InputError(f"seeds are {list(self.seeds)}; two or more are needed, the second half rich in lesions")

    def part(self, of: int) -> Campaign:
        """A rehearsal: one `of`-th of the cases and of the iterations, at least one of each kind."""
        half = max(1, len(self.seeds) // 2 // of)
        middle = len(self.seeds) // 2
        seeds = self.seeds if of == 1 else self.seeds[middle - half : middle + half]
        config = replace(self.config, iterations=max(1, self.config.iterations // of))
        return replace(self, seeds=seeds, first=max(1, self.first // of), config=config)


class Clock:
    """What is left of so many minutes."""

    def __init__(self, minutes: float):
        self.seconds, self.started = 60 * minutes, time.monotonic()

    def left(self) -> float:
        """Seconds until the last checkpoint has to be begun."""
        return self.seconds - END_S - (time.monotonic() - self.started)

    def share_left(self) -> float:
        """Of the whole time, 1 to 0."""
        return self.left() / self.seconds

    def up(self) -> bool:
        """Whether the time is."""
        return self.left() <= 0


def run_campaign(campaign: Campaign, clock: Clock) -> Path | None:
    """Simulate and train until the time is up or all is done; a bundle of the averaged weights, its folder returned.

    None when the time was up before there was anything to train on. ChildProcessError when the simulation fails.
    """
    pace = _Pace()
    if not (campaign.output / LATE / CONFIG).exists():
        with _simulation(campaign) as simulation:
            while len(_cases(campaign)) < campaign.first and simulation.going_on() and not clock.up():
                time.sleep(LOOK_S)
            if clock.up():
                return _bundle(campaign)
            _stage(campaign, EARLY, campaign.config, [campaign.start_from], _early_stop(simulation, pace, clock))
            while simulation.going_on() and clock.share_left() >= ENOUGH_LEFT:  # early had its iterations before
                time.sleep(LOOK_S)
    if not clock.up():
        most = pace.fitting(SAFE * clock.left())
        seed = campaign.config.seed + 1  # other patches than early's
        iterations = min(campaign.config.iterations, most or campaign.config.iterations)
        config = replace(campaign.config, iterations=iterations, seed=seed)
        _stage(campaign, LATE, config, [campaign.output / EARLY], clock.up)
    return _bundle(campaign)


@contextmanager
def _simulation(campaign: Campaign) -> Iterator[_Simulation]:
    """The cases being made. Ended when the block is left."""
    campaign.output.mkdir(parents=True, exist_ok=True)
    half = len(campaign.seeds) // 2
    rich = ["--lesions", LESIONS, "--lesion-rich"]
    rich += ["--tumours", str(campaign.tumours.resolve())] if campaign.tumours else []
    running: list[subprocess.Popen] = []
    simulation = _Simulation(running, campaign.output / SIMULATION_LOG)
    with (campaign.output / SIMULATION_LOG).open("ab") as log:
        for seeds, more in ((campaign.seeds[:half], []), (campaign.seeds[half:], rich)):
            command = [sys.executable, "-m", "training", "simulate", "--split", "train", "--size", campaign.size]
            command += ["--seeds", f"{seeds[0]}-{seeds[-1]}", "--output", str((campaign.output / CASES).resolve())]
            command += ["--cached", "--jobs", str(max(1, campaign.jobs // 2)), *more]
            running.append(subprocess.Popen(command, cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=log, stderr=log))
    try:
        yield simulation
    finally:
        simulation.end()


@dataclass(frozen=True)
class _Simulation:
    running: list[subprocess.Popen]
    log: Path

    def going_on(self) -> bool:
        """ChildProcessError when one of its processes has failed."""
        codes = [process.poll() for process in self.running]
        if any(codes):
            said = self.log.read_text(errors="replace").strip()[-1000:]
            raise ChildProcessError(f"the simulation ended with {max(filter(None, codes))} ({self.log}): {said}")
        return None in codes

    def end(self) -> None:
        """At once; a case that was being made is lost."""
        for process in self.running:
            process.kill()
            process.wait()
        self.running.clear()


def _cases(campaign: Campaign) -> list[Path]:
    """Those that can be trained on without a wait."""
    return sorted(path.parent for path in (campaign.output / CASES / "train").glob(f"[!.]*/{FACTS_CACHE}"))


def _stage(
    campaign: Campaign, name: str, config: TrainConfig, start_from: Sequence[Path], stop: Callable[[], bool]
) -> None:
    """A run in its folder, or what is left of it, on the cases that were there when it began."""
    run = campaign.output / name
    if (run / CONFIG).exists():
        config = TrainConfig.from_json((run / CONFIG).read_text())
    if not (run / CASE_NAMES).exists():
        run.mkdir(exist_ok=True)
        write_json({"cases": [case.name for case in _cases(campaign)]}, run / CASE_NAMES)
    names = json.loads((run / CASE_NAMES).read_text())["cases"]
    print(f"{name}: {len(names)} cases, at most {config.iterations} iterations", flush=True)
    train(config, [campaign.output / CASES / "train" / each for each in names], run, start_from, stop=stop)


class _Pace:
    """Seconds an iteration takes, from the times at which it was asked."""

    def __init__(self):
        self.times: list[float] = []

    def count(self) -> int:
        self.times.append(time.monotonic())
        return len(self.times)

    def fitting(self, seconds: float) -> int | None:
        """How many iterations fit into so many seconds, at least one; None where none was timed."""
        if len(self.times) < 2:
            return None
        each = (self.times[-1] - self.times[0]) / (len(self.times) - 1)
        return max(1, int(seconds / each))


def _early_stop(simulation: _Simulation, pace: _Pace, clock: Clock) -> Callable[[], bool]:
    """Asked after each iteration: whether the time is up, or the cases are made, or enough of them, and the pace is
    known that training has without the simulation beside it."""

    def stop() -> bool:
        if simulation.going_on() and clock.share_left() >= ENOUGH_LEFT:
            return clock.up()
        simulation.end()
        return pace.count() >= PACED or clock.up()

    return stop


def _bundle(campaign: Campaign) -> Path | None:
    """Of the last run that has a checkpoint, named after it and its iterations; None where there is none."""
    for name in (LATE, EARLY):
        run = campaign.output / name
        if (run / CHECKPOINT).exists():
            network, config = load_run(run)
            return bundle_with_weights(campaign.start_from, network, config, campaign.output / f"{name}-bundle")
    return None
