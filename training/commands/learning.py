"""Commands that train: calibrate, train, campaign, baseline, throughput."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
from pathlib import Path

from MAPDiffLib.job import DEFAULT_BUNDLE
from MAPDiffLib.jobs.command_line import CommandLine
from MAPDiffLib.jobs.shared_options import add_device
from training.commands.cases import add_size, add_tumours, number_range
from training.commands.changes import parse_changes

GROUP = "training"


def add_commands(command_line: CommandLine) -> None:
    """Those of the group `training`."""
    _add_calibrate(command_line)
    _add_train(command_line)
    _add_campaign(command_line)
    _add_baseline(command_line)
    _add_throughput(command_line)


def _add_calibrate(command_line: CommandLine) -> None:
    parser = command_line.add(
        GROUP, "calibrate", "measure the anchors' timesteps and the noise curve on training cases", _calibrate,
        "calibrate --cases cases/train --output calibration.json",
    )  # fmt: skip
    _add_cases(parser.add_argument)
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="calibration.json")
    parser.add_argument("--limit", type=int, default=16, metavar="N", help="most cases to use")


def _calibrate(options: argparse.Namespace) -> None:
    from MAPDiffLib.model.diffusion import Diffusion
    from training.cases.case_file import find_cases
    from training.export.calibrate import calibrate

    calibrate(find_cases(options.cases)[: options.limit], Diffusion()).save(options.output)
    print(options.output.read_text())


def _add_train(command_line: CommandLine) -> None:
    parser = command_line.add(
        GROUP, "train", "train a network; resumes from the run's last checkpoint", _train,
        "train --config mapdiff-base --cases cases/train --output runs/mine --set batch=8 precision=bf16-mixed",
    )  # fmt: skip
    add = parser.add_argument_group("data and results").add_argument
    _add_cases(add)
    add("--output", type=Path, required=True, metavar="DIR", help="folder of the run")
    add(
        "--start-from", nargs="+", default=(), metavar="DIR",
        help="runs, checkpoints or bundles, these by name too: a fresh run begins with their mean weights (default:"
        " random weights)",
    )  # fmt: skip
    _add_settings(parser).add_argument(
        "--calibration", type=Path, metavar="FILE", help="calibration.json (default: the timesteps of the config)"
    )
    _add_workers(parser.add_argument_group("computation").add_argument)


def _train(options: argparse.Namespace) -> None:
    from training.cases.case_file import find_cases
    from training.config import TrainConfig, load_config
    from training.train import train

    changes = parse_changes(TrainConfig, options.set)
    if options.calibration:
        changes["taus"] = _taus(options.calibration)
    config = load_config(options.config, **changes)
    print(json.dumps(dataclasses.asdict(config)))
    print(train(config, find_cases(options.cases), options.output, options.start_from, options.workers))


def _taus(calibration: Path) -> list[int]:
    from MAPDiffLib.restoration.doses import ANCHOR_DOSES

    taus = json.loads(calibration.read_text())["taus"]
    return [taus[f"{dose:g}"] for dose in ANCHOR_DOSES]


def _add_campaign(command_line: CommandLine) -> None:
    parser = command_line.add(
        GROUP, "campaign", "simulate cases and train on them until the time is up; goes on where it was stopped",
        _campaign, "campaign --minutes 14 --output runs/campaign",
    )  # fmt: skip
    add = parser.add_argument_group("time and results").add_argument
    add("--minutes", type=float, required=True, metavar="MINUTES", help="until the weights have to be written")
    add("--output", type=Path, required=True, metavar="DIR", help="for cases, both runs and the bundle")
    add(
        "--part", type=int, default=1, metavar="N",
        help="a rehearsal: one N-th of the cases and of the most iterations (default: 1, all)",
    )  # fmt: skip
    add = parser.add_argument_group("training").add_argument
    add("--start-from", default=DEFAULT_BUNDLE, metavar="DIR", help="name or folder of the bundle that it begins with")
    add("--config", default="campaign", metavar="NAME", help="a name in training/configs or a .json file")
    _add_set(add)
    add = parser.add_argument_group("cases").add_argument
    add(
        "--seeds", type=number_range, default=range(1000, 1192), metavar="A-B",
        help="one case for each, the second half rich in lesions (default: 1000-1191)",
    )  # fmt: skip
    add("--first", type=int, default=24, metavar="N", help="cases with which training begins")
    add_size(add)
    add_tumours(add)
    cores = os.cpu_count() or 1
    add(
        "--jobs", type=int, default=max(1, cores - 1), metavar="N", help="cases at a time (default: one a core but one)"
    )


def _campaign(options: argparse.Namespace) -> None:
    from MAPDiffLib.model.bundle import find_bundle
    from training.campaign import Campaign, Clock, run_campaign
    from training.config import TrainConfig, load_config

    clock = Clock(options.minutes)
    config = load_config(options.config, **parse_changes(TrainConfig, options.set))
    chosen = {name: getattr(options, name) for name in ("output", "seeds", "first", "size", "tumours", "jobs")}
    campaign = Campaign(config=config, start_from=find_bundle(options.start_from), **chosen).part(options.part)
    print(run_campaign(campaign, clock) or "the time was up before there was a checkpoint")


def _add_settings(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    settings = parser.add_argument_group("settings")
    settings.add_argument("--config", required=True, metavar="NAME", help="a name in training/configs or a .json file")
    _add_set(settings.add_argument)
    return settings


def _add_cases(add) -> None:
    add("--cases", type=Path, required=True, metavar="DIR", help="folder of training cases")


def _add_workers(add) -> None:
    add("--workers", type=int, metavar="N", help="processes that cut patches (default: as the device needs)")


def _add_set(add) -> None:
    add(
        "--set", nargs="*", default=[], metavar="NAME=VALUE",
        help="settings that replace the config's, as batch=8 variety.zoomed=0 (default: none)",
    )  # fmt: skip


def _add_throughput(command_line: CommandLine) -> None:
    parser = command_line.add(
        GROUP, "throughput", "measure the loader's samples a second beside the training step's", _throughput,
        "throughput --config mapdiff-base --cases cases/train --workers 0 2 4",
    )  # fmt: skip
    _add_cases(parser.add_argument)
    parser.add_argument(
        "--workers", type=int, nargs="+", default=[0, 1, 2, 4], metavar="N",
        help="numbers of loading processes to try (default: 0 1 2 4)",
    )  # fmt: skip
    parser.add_argument("--seconds", type=float, default=10.0, metavar="SECONDS", help="of each measurement")
    _add_settings(parser)


def _throughput(options: argparse.Namespace) -> None:
    from training.cases.case_file import find_cases
    from training.config import TrainConfig, load_config
    from training.throughput import measure_throughput

    config = load_config(options.config, **parse_changes(TrainConfig, options.set))
    print(measure_throughput(config, find_cases(options.cases), options.workers, options.seconds))


def _add_baseline(command_line: CommandLine) -> None:
    parser = command_line.add(
        GROUP, "baseline", "train a baseline of the table; resumes from the run's last checkpoint", _baseline,
        "baseline --name unet --cases cases/train --output runs/unet --set iterations=20000 batch=16",
    )  # fmt: skip
    add = parser.add_argument_group("data and results").add_argument
    _add_cases(add)
    add("--output", type=Path, required=True, metavar="DIR", help="folder of the run and of what is trained")
    add = parser.add_argument_group("settings").add_argument
    add("--name", required=True, choices=("unet", "swinunetr", "gan"), help="of the network")
    _add_set(add)
    add = parser.add_argument_group("computation").add_argument
    add_device(add)
    _add_workers(add)


def _baseline(options: argparse.Namespace) -> None:
    from training.baselines.config import BaselineConfig
    from training.baselines.train import train_baseline
    from training.cases.case_file import find_cases

    changes = {"name": options.name} | parse_changes(BaselineConfig, options.set)
    config = BaselineConfig.from_json(json.dumps(changes))
    print(train_baseline(config, find_cases(options.cases), options.output, options.device, options.workers))
