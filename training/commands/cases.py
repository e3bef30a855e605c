"""Commands that make cases: simulate, real, validate, prepare-udpet."""

from __future__ import annotations

import argparse
from pathlib import Path

from MAPDiffLib.jobs.command_line import CommandLine
from MAPDiffLib.jobs.shared_options import add_jobs

GROUP = "cases"
# As training/simulate has them: a command line that loaded them to print its help would be slow.
SPLITS = ("train", "validation", "test", "external")
SIZES = ("full", "short", "small", "fine", "tiny")
FAMILIES = ("internal", "varied", "external")
DOSES = (1.0, 0.5, 0.25, 0.1, 0.05, 0.02, 0.01)
LESIONS = (0, 12)


def add_commands(command_line: CommandLine) -> None:
    """Those of the group `cases`."""
    _add_simulate(command_line)
    _add_real(command_line)
    _add_validate(command_line)
    _add_prepare_udpet(command_line)


def number_range(text: str) -> range:
    """ "3" or "0-63" (both ends included) as a range."""
    first, _, last = text.partition("-")
    numbers = range(int(first), int(last or first) + 1)
    if not numbers:
        raise argparse.ArgumentTypeError(f"{text!r} is no range; A-B with A <= B is needed")
    return numbers


def dose_list(text: str) -> tuple[float, ...]:
    """ "1,0.5,0.1" as doses; the full dose must be among them."""
    doses = tuple(float(part) for part in text.split(","))
    if 1.0 not in doses or not all(0 < dose <= 1 for dose in doses):
        raise argparse.ArgumentTypeError(f"doses are {text!r}; fractions in (0, 1] with 1 among them are needed")
    return doses


def add_size(add) -> None:
    """--size: of a simulated case's grid."""
    add(
        "--size", default="full", choices=SIZES,
        help="of the grid: full 256 x 128 x 128, short 192 slices, small half, fine twice that, tiny for tests",
    )  # fmt: skip


def _add_simulate(command_line: CommandLine) -> None:
    parser = command_line.add(
        GROUP, "simulate", "make simulated cases: body, scanner, every dose; what is there is kept", _simulate,
        "simulate --split train --seeds 0-63 --output cases --jobs 2",
    )  # fmt: skip
    add = parser.add_argument_group("which cases").add_argument
    add("--output", required=True, metavar="DIR", help="folder; cases go into DIR/SPLIT")
    add("--split", required=True, choices=SPLITS, help="external: scanners unlike those of the others")
    add("--seeds", required=True, type=number_range, metavar="A-B", help="one case for each, as 0-63")
    add = parser.add_argument_group("what they are like").add_argument
    add_size(add)
    add("--family", choices=FAMILIES, metavar="NAME", help="of scanners: internal, varied, external (default: split's)")
    add("--counts", type=float, default=1.0, metavar="TIMES", help="counts over those of the scanner drawn")
    add(
        "--doses", type=dose_list, default=DOSES, metavar="DOSES",
        help=f"fractions of the full dose (default: {','.join(f'{dose:g}' for dose in DOSES)})",
    )  # fmt: skip
    add(
        "--lesions", type=number_range, default=range(LESIONS[0], LESIONS[1] + 1), metavar="A-B",
        help=f"lesions in a body (default: {LESIONS[0]}-{LESIONS[1]})",
    )  # fmt: skip
    add("--lesion-rich", action="store_true", help="lesions half under 13 mm, in every tissue, some barely visible")
    add_tumours(add)
    add = parser.add_argument_group("computation").add_argument
    add_jobs(add, "cases")
    add("--cached", action="store_true", help="also what training reads of a case, so that it begins at once")


def _simulate(options: argparse.Namespace) -> None:
    from training.cases.cache import CachedCase
    from training.simulate.cases import CaseOptions, make_cases
    from training.simulate.lesions import LesionPlan

    lesions = LesionPlan((options.lesions[0], options.lesions[-1]), options.lesion_rich, options.tumours)
    how = CaseOptions(options.size, options.doses, lesions, options.family, options.counts)
    cached = CachedCase.open if options.cached else None
    made = make_cases(options.output, options.split, options.seeds, how, options.jobs, cached)
    there = len(options.seeds) - made
    print(f"{made} made, {there} were there already, in {options.output}/{options.split}")


def add_tumours(add) -> None:
    """--tumours: where real ones lie."""
    add("--tumours", type=Path, metavar="DIR", help="real tumours for lesions: pet_* and mask_*.nii.gz (default: none)")


def _add_real(command_line: CommandLine) -> None:
    parser = command_line.add(
        GROUP, "real", "make cases with the anatomy of a real scan; to evaluate on, never to train on", _real,
        "real scan.nii.gz --output cases/real --seeds 0 1",
    )  # fmt: skip
    parser.add_argument(
        "scan", metavar="SCAN", help="full-dose PET: NIfTI, NRRD, MetaImage or a folder of DICOM slices"
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder; cases are DIR/real-SEED")
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0], metavar="N", help="one scanner, one case each (default: 0)"
    )
    parser.add_argument(
        "--lesions", type=number_range, default=range(0, 1), metavar="A-B", help="put in so many (default: none)"
    )
    add_tumours(parser.add_argument)


def _real(options: argparse.Namespace) -> None:
    from MAPDiffLib.scan.volume import read_volume
    from training.simulate.lesions import LesionPlan
    from training.simulate.real import write_real_case

    volume = read_volume(options.scan)
    lesions = LesionPlan((options.lesions[0], options.lesions[-1]), True, options.tumours)
    for seed in options.seeds:
        print(write_real_case(volume, seed, options.output, lesions))


def _add_validate(command_line: CommandLine) -> None:
    parser = command_line.add(
        GROUP, "validate", "compare cases with real scans: noise, its spread, liver noise, SUV", _validate,
        "validate cases/test/case-00000 cases/test/case-00001 --figure validate.png",
    )  # fmt: skip
    parser.add_argument("folders", nargs="+", type=Path, metavar="CASE", help="case folders")
    parser.add_argument(
        "--figure", type=Path, metavar="FILE", help="PNG of the cases beside the published ranges (default: none)"
    )
    parser.add_argument(
        "--beside", nargs="+", type=Path, default=[], metavar="SCAN",
        help="real scans whose noise is set beside that of the cases (default: none)",
    )  # fmt: skip


def _validate(options: argparse.Namespace) -> None:
    from training.simulate.validate import validate

    validate(options.folders, options.figure, options.beside)


def _add_prepare_udpet(command_line: CommandLine) -> None:
    parser = command_line.add(
        GROUP, "prepare-udpet", "make cases in SUV of UDPET data, checked; goes on where it was stopped",
        _prepare_udpet, "prepare-udpet /data/UDPET --output /data/cases --jobs 8",
    )  # fmt: skip
    parser.add_argument(
        "root", type=Path, metavar="DIR", help="tree of DICOM series (either layout), or the test set with its CSV"
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="for the cases and subjects.csv")
    add_jobs(parser.add_argument, "subjects")
    parser.add_argument("--retry", action="store_true", help="try again what was excluded earlier")


def _prepare_udpet(options: argparse.Namespace) -> None:
    from training.udpet.prepare import TABLE_FILE, prepare_udpet, summary

    rows = prepare_udpet(options.root, options.output, options.jobs, options.retry)
    print(f"{summary(rows)}\n{options.output / TABLE_FILE}")
