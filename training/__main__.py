"""mapdiff-train: calibrate -> train -> export -> evaluate.

Cases come from `python -m training.simulate`, or from UDPET data through prepare-udpet."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from MAPDiffLib.errors import InputError
from MAPDiffLib.job import DEFAULT_BUNDLE


def main(argv: list[str] | None = None) -> int:
    """Run one step; exit codes as everywhere: 0 done, 1 failed, 2 bad input."""
    parser = argparse.ArgumentParser(prog="mapdiff-train", description=__doc__)
    steps = parser.add_subparsers(dest="step", required=True)
    _add_prepare_udpet(steps)
    _add_submit_udpet(steps)
    _add_calibrate(steps)
    _add_train(steps)
    _add_throughput(steps)
    _add_rival(steps)
    _add_export(steps)
    _add_refit(steps)
    _add_evaluate(steps)
    options = parser.parse_args(argv)
    try:
        options.run(options)
    except InputError as error:
        print(f"mapdiff-train: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"mapdiff-train: failed: {error}", file=sys.stderr)
        return 1
    return 0


def _add_prepare_udpet(steps) -> None:
    parser = steps.add_parser("prepare-udpet", help="UDPET data -> cases in SUV, checked; goes on where it was stopped")
    parser.add_argument("root", type=Path, help="tree of DICOM series (either layout), or the test set with its CSV")
    parser.add_argument("--output", type=Path, required=True, help="folder for the cases and subjects.csv")
    parser.add_argument("--jobs", type=int, default=1, help="subjects at a time (default: %(default)s)")
    parser.add_argument("--retry", action="store_true", help="try again what was excluded earlier")
    parser.set_defaults(run=_prepare_udpet)


def _prepare_udpet(options) -> None:
    from training.udpet.prepare import TABLE_FILE, prepare_udpet, summary

    rows = prepare_udpet(options.root, options.output, options.jobs, options.retry)
    print(f"{summary(rows)}\n{options.output / TABLE_FILE}")


def _add_submit_udpet(steps) -> None:
    parser = steps.add_parser("submit-udpet", help="the challenge's test set -> restored full doses under its names")
    parser.add_argument("root", type=Path, help="folder of the test set: NIfTI files and their CSV")
    parser.add_argument("--output", type=Path, required=True, help="folder for submission/ and restored/")
    parser.add_argument("--bundle", default=DEFAULT_BUNDLE, help="name or folder of a model bundle")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:0")
    parser.add_argument("--samples", type=int, help="samples to average (default: the bundle's)")
    parser.add_argument("--scheduler", help="Dask scheduler whose workers do the work (or its file)")
    parser.set_defaults(run=_submit_udpet)


def _submit_udpet(options) -> None:
    from MAPDiffLib.job import Job
    from MAPDiffLib.jobs.console import BatchConsole
    from training.udpet.submit import RESTORED, submit_udpet

    same = {name: getattr(options, name) for name in ("bundle", "device", "samples")}
    common = Job(str(options.root), str(options.output / RESTORED), **same)
    with BatchConsole(None) as console:
        files = submit_udpet(options.root, options.output, common, options.scheduler, console.ended)
    print(f"{len(files)} files in {files[0].parent}")


def _add_calibrate(steps) -> None:
    parser = steps.add_parser("calibrate", help="anchors' timesteps and the noise curve, from training cases")
    parser.add_argument("--cases", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True, help="calibration.json")
    parser.add_argument("--limit", type=int, default=16, help="cases used")
    parser.set_defaults(run=_calibrate)


def _calibrate(options) -> None:
    from MAPDiffLib.model.diffusion import Diffusion
    from training.cases.case_file import find_cases
    from training.export.calibrate import calibrate

    calibrate(find_cases(options.cases)[: options.limit], Diffusion()).save(options.output)
    print(options.output.read_text())


def _add_train(steps) -> None:
    parser = steps.add_parser("train", help="train a network; resumes from the run's last checkpoint")
    parser.add_argument("--config", required=True, help="a name in training/configs or a .json file")
    parser.add_argument("--cases", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True, help="folder of the run")
    parser.add_argument(
        "--start-from", type=Path, nargs="+", default=(),
        help="folders of runs, checkpoints or bundles: a fresh run begins with their mean weights",
    )  # fmt: skip
    parser.add_argument("--calibration", type=Path, help="calibration.json whose taus replace the config's")
    parser.add_argument("--workers", type=int, help="processes that cut patches (default: as the device needs)")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=JSON", help="settings that replace the config's")
    parser.set_defaults(run=_train)


def _train(options) -> None:
    from training.cases.case_file import find_cases
    from training.config import load_config
    from training.train import train

    changes = _changes(options.set)
    if options.calibration:
        changes["taus"] = _taus(options.calibration)
    config = load_config(options.config, **changes)
    print(json.dumps(dataclasses.asdict(config)))
    print(train(config, find_cases(options.cases), options.output, options.start_from, options.workers))


def _add_throughput(steps) -> None:
    parser = steps.add_parser("throughput", help="samples a second of the loader beside those of the training step")
    parser.add_argument("--config", required=True, help="a name in training/configs or a .json file")
    parser.add_argument("--cases", type=Path, required=True)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2, 4], help="numbers of processes to try")
    parser.add_argument("--seconds", type=float, default=10.0, help="for each measurement (default: %(default)s)")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=JSON", help="settings that replace the config's")
    parser.set_defaults(run=_throughput)


def _throughput(options) -> None:
    from training.cases.case_file import find_cases
    from training.config import load_config
    from training.throughput import measure_throughput

    config = load_config(options.config, **_changes(options.set))
    print(measure_throughput(config, find_cases(options.cases), options.workers, options.seconds))


def _changes(texts: list[str]) -> dict:
    """["batch=4"] -> {"batch": 4}."""
    return {name: json.loads(value) for name, _, value in (text.partition("=") for text in texts)}


def _taus(calibration: Path) -> list[int]:
    from MAPDiffLib.restoration.doses import ANCHOR_DOSES

    taus = json.loads(calibration.read_text())["taus"]
    return [taus[f"{dose:g}"] for dose in ANCHOR_DOSES]


def _add_rival(steps) -> None:
    parser = steps.add_parser("rival", help="train a rival of the table; resumes from the run's last checkpoint")
    parser.add_argument("--name", required=True, help="unet, swinunetr or gan")
    parser.add_argument("--cases", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True, help="folder of the run and of the trained rival")
    parser.add_argument("--iterations", type=int, required=True)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--patch", type=int, default=64, help="edge of a patch in voxels")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=JSON", help="further settings of RivalConfig")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int, help="processes that make patches")
    parser.set_defaults(run=_rival)


def _rival(options) -> None:
    from training.baselines.config import RivalConfig
    from training.baselines.train import train_rival
    from training.cases.case_file import find_cases

    values = {name: getattr(options, name) for name in ("name", "iterations", "batch", "patch")}
    changes = _changes(options.set)
    config = RivalConfig.from_json(json.dumps(values | changes))
    print(train_rival(config, find_cases(options.cases), options.output, options.device, options.workers))


def _add_export(steps) -> None:
    parser = steps.add_parser("export", help="a run -> a model bundle, its weights fitted on validation cases")
    parser.add_argument("--run-folder", type=Path, required=True)
    parser.add_argument("--calibration", type=Path, required=True)
    _add_fitted_on(parser)
    parser.add_argument("--cases", type=Path, required=True, help="the training cases, for the bundle's record")
    parser.add_argument("--output", type=Path, required=True, help="bundle folder; its name is the bundle's name")
    parser.add_argument("--description", default="Multi-anchor guided diffusion for whole-body FDG PET")
    parser.set_defaults(run=_export)


def _export(options) -> None:
    from training.cases.case_file import find_cases
    from training.export.bundle import export_bundle

    validation, unlike = _fitted_on(options)
    cases, described = find_cases(options.cases), options.description
    run, calibration = options.run_folder, options.calibration
    print(export_bundle(run, calibration, validation, cases, options.output, described, unlike))


def _add_refit(steps) -> None:
    parser = steps.add_parser("refit", help="a bundle -> the same weights, how they are used fitted on other cases")
    parser.add_argument("--bundle", required=True, help="name or folder of a model bundle")
    _add_fitted_on(parser)
    parser.add_argument("--output", type=Path, required=True, help="bundle folder; its name is the bundle's name")
    parser.set_defaults(run=_refit)


def _refit(options) -> None:
    from training.export.bundle import refit_bundle

    validation, unlike = _fitted_on(options)
    print(refit_bundle(options.bundle, validation, options.output, unlike))


def _add_fitted_on(parser) -> None:
    parser.add_argument("--validation", type=Path, required=True)
    parser.add_argument(
        "--unlike", type=Path,
        help="more of them, of other scanners: an anchor has to help there too, and they say how far to mistrust wide"
        " noise and how wide the uncertainty has to be",
    )  # fmt: skip


def _fitted_on(options) -> tuple[list[Path], list[Path]]:
    """The cases of --validation and --unlike."""
    from training.cases.case_file import find_cases

    return find_cases(options.validation), find_cases(options.unlike) if options.unlike else []


def _add_evaluate(steps) -> None:
    from training.evaluation.options import add_arguments

    parser = steps.add_parser("evaluate", help="the table: every method on the same unseen cases")
    add_arguments(parser)
    parser.set_defaults(run=_evaluate)


def _evaluate(options) -> None:
    from training.evaluation.evaluate import evaluate

    evaluate(options)


if __name__ == "__main__":
    sys.exit(main())
