"""Commands that make bundles: export, refit."""

from __future__ import annotations

import argparse
from pathlib import Path

from MAPDiffLib.jobs.command_line import CommandLine

GROUP = "bundles"


def add_commands(command_line: CommandLine) -> None:
    """Those of the group `bundles`."""
    _add_export(command_line)
    _add_refit(command_line)


def _add_export(command_line: CommandLine) -> None:
    parser = command_line.add(
        GROUP, "export", "make a model bundle of a run, its sampling fitted on validation cases", _export,
        "export --run-folder runs/mine --calibration calibration.json --validation cases/validation"
        " --cases cases/train --output mine",
    )  # fmt: skip
    add = parser.add_argument_group("what was trained").add_argument
    add("--run-folder", type=Path, required=True, metavar="DIR", help="folder of the run")
    add("--calibration", type=Path, required=True, metavar="FILE", help="calibration.json")
    add("--cases", type=Path, required=True, metavar="DIR", help="the training cases, for the record")
    add = parser.add_argument_group("the bundle").add_argument
    _add_fitted_on(add)
    add(
        "--description", default="Multi-anchor guided diffusion for whole-body FDG PET", metavar="TEXT",
        help="one line on the model",
    )  # fmt: skip


def _export(options: argparse.Namespace) -> None:
    from training.cases.case_file import find_cases
    from training.export.bundle import export_bundle

    validation, cases = find_cases(options.validation), find_cases(options.cases)
    run, calibration = options.run_folder, options.calibration
    print(export_bundle(run, calibration, validation, cases, options.output, options.description))


def _add_refit(command_line: CommandLine) -> None:
    parser = command_line.add(
        GROUP, "refit", "fit the sampling of a bundle again on other cases; the network stays", _refit,
        "refit --bundle mapdiff-base --validation cases/validation --output mine",
    )  # fmt: skip
    parser.add_argument("--bundle", required=True, metavar="DIR", help="name or folder of a model bundle")
    _add_fitted_on(parser.add_argument)


def _refit(options: argparse.Namespace) -> None:
    from training.cases.case_file import find_cases
    from training.export.bundle import refit_bundle

    print(refit_bundle(options.bundle, find_cases(options.validation), options.output))


def _add_fitted_on(add) -> None:
    add("--output", type=Path, required=True, metavar="DIR", help="bundle; DIR's name is its name")
    add("--validation", type=Path, required=True, metavar="DIR", help="validation cases, of several scanners")
