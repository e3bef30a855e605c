"""Commands that judge: evaluate, fidelity, results, bench, submit-udpet."""

from __future__ import annotations

import argparse
from pathlib import Path

from MAPDiffLib.job import DEFAULT_BUNDLE, parse_dose, parse_doses
from MAPDiffLib.jobs.command_line import CommandLine
from MAPDiffLib.jobs.shared_options import (
    add_bundle,
    add_device,
    add_jobs,
    add_precision,
    add_samples,
    add_scheduler,
)
from training import CHECKOUT

GROUP = "evaluation"
INPUT_DOSES = "1/100,1/50,1/20,1/10,1/4"
# As bench has them, whose import takes torch's.
SCANS = ("small", "quadra")
PARTS = (
    "arrays",
    "profile",
    "fidelity",
    "roofline",
    "dtype-and-layout",
    "unet",
    "baselines",
    "end-to-end",
    "worker",
    "growth",
)


def add_commands(command_line: CommandLine) -> None:
    """Those of the group `evaluation`."""
    _add_evaluate(command_line)
    _add_fidelity(command_line)
    _add_results(command_line)
    _add_bench(command_line)
    _add_submit_udpet(command_line)


def _add_evaluate(command_line: CommandLine) -> None:
    parser = command_line.add(
        GROUP, "evaluate", "score every method on the same unseen cases: tables, intervals, figures", _evaluate,
        "evaluate --cases cases/test cases/external --output table --no-classical",
    )  # fmt: skip
    _add_data(parser.add_argument_group("data and results").add_argument)
    _add_methods(parser.add_argument_group("methods, besides the input and Gaussian filters").add_argument)
    add = parser.add_argument_group("computation").add_argument
    add_jobs(add, "cases")
    add_device(add)
    add_precision(add)


def _add_fidelity(command_line: CommandLine) -> None:
    parser = command_line.add(
        GROUP, "fidelity", "judge, or fit, the local guard, places to check, best estimates and drawn scans", _fidelity,
        "fidelity --cases cases/test cases/external --output fidelity.json",
    )  # fmt: skip
    add = parser.add_argument_group("cases and results").add_argument
    add("--cases", type=Path, required=True, nargs="+", metavar="DIR", help="folders with cases that have lesions")
    add("--output", type=Path, required=True, metavar="FILE", help="every figure, as JSON")
    add(
        "--restored", type=Path, metavar="DIR",
        help="where restored cases are kept, so that each is restored once (default: restored, beside FILE)",
    )  # fmt: skip
    add = parser.add_argument_group("the model").add_argument
    add("--bundle", default=DEFAULT_BUNDLE, metavar="DIR", help="name or folder of a model bundle")
    add("--input-dose", type=parse_dose, default=0.05, metavar="DOSE", help="of the scans that are restored")
    add(
        "--fit", action="store_true",
        help="choose the bundle's thresholds and factors on these cases, which judge nothing then, and write them into"
        " its bundle.json",
    )  # fmt: skip
    add(
        "--odds-cases", type=Path, nargs="+", metavar="DIR",
        help="first fit what tells lost lesions from noise, on the cases in these folders: neither judged on nor those"
        " of --fit (default: the bundle's own stays)",
    )  # fmt: skip


def _fidelity(options: argparse.Namespace) -> None:
    from training.evaluation.fidelity_run import fidelity

    fidelity(options)


def _add_data(add) -> None:
    add("--cases", type=Path, required=True, nargs="+", metavar="DIR", help="folders with test cases")
    add("--output", type=Path, required=True, metavar="DIR", help="folder; what was scored before is kept")
    add(
        "--input-doses", type=parse_doses, default=parse_doses(INPUT_DOSES), metavar="DOSES",
        help=f"of the scans that are restored (default: {INPUT_DOSES})",
    )  # fmt: skip
    add("--record", action="store_true", help="write the bundles' own figures into their bundle.json")


def _add_methods(add) -> None:
    add(
        "--bundle", action="append", metavar="DIR",
        help=f"name or folder of a model bundle; may be repeated (default: {DEFAULT_BUNDLE})",
    )  # fmt: skip
    add(
        "--control", type=Path, metavar="DIR",
        help="bundle of the same network trained as a one-pass regression (default: none)",
    )  # fmt: skip
    add(
        "--passes", type=int, nargs="*", default=[1, 8], metavar="N",
        help="mirrored passes of the control and of a bundle without its path (default: 1 8)",
    )  # fmt: skip
    add(
        "--baseline", action="append", nargs="+", default=[], metavar=("DIR", "NAME=VALUE"),
        help="a trained baseline or a run, with name, steps, samples, start, timesteps, stochastic; may be repeated"
        " (default: none)",
    )  # fmt: skip
    add(
        "--method", action="append", default=[], metavar="NAME='CMD {input} {output}'",
        help="any denoiser that reads one NIfTI file and writes another; may be repeated (default: none)",
    )  # fmt: skip
    add("--no-classical", action="store_true", help="leave out non-local means and BM4D, which are slow")


def _evaluate(options: argparse.Namespace) -> None:
    from training.evaluation.evaluate import evaluate

    evaluate(options)


def _add_results(command_line: CommandLine) -> None:
    parser = command_line.add(
        GROUP, "results", "write the documentation's results: docs/results.md, README, model card, figure", _results,
        "results --table table/table.json",
    )  # fmt: skip
    parser.add_argument(
        "--table", type=Path, nargs="+", default=[], metavar="FILE",
        help="tables of `evaluate` that replace docs/results.json; further ones add input doses (default: none)",
    )  # fmt: skip
    parser.add_argument("--bundle", default=DEFAULT_BUNDLE, metavar="DIR", help="the bundle whose card is written")


def _results(options: argparse.Namespace) -> None:
    from MAPDiffLib.model.bundle import find_bundle
    from training.evaluation.documentation import write_results

    for path in write_results(CHECKOUT, find_bundle(options.bundle), options.table):
        print(path)


def _add_bench(command_line: CommandLine) -> None:
    parser = command_line.add(
        GROUP, "bench", "measure seconds and memory beside other methods: a table, JSON and a plot of growth", _bench,
        "bench --sizes small quadra --parts arrays end-to-end --output bench-speed",
    )  # fmt: skip
    add = parser.add_argument_group("what to measure").add_argument
    add("--sizes", nargs="+", choices=SCANS, default=["small"], help="scans, in this order (default: small)")
    add("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="what to measure (default: all)")
    add("--repeats", type=int, default=5, metavar="N", help="runs whose median counts")
    add("--budget", type=float, default=120.0, metavar="SECONDS", help="after which no further run begins")
    add("--edge", type=int, metavar="VOXELS", help="of the cube that is measured (default: 96, on a GPU 256)")
    add_bundle(add)
    add = parser.add_argument_group("computation and results").add_argument
    add("--output", type=Path, default=Path("demo/bench-speed"), metavar="DIR", help="folder for the results")
    add("--device", default="cpu", metavar="NAME", help="cpu, cuda or cuda:0")


def _bench(options: argparse.Namespace) -> None:
    from bench.run import bench

    bench(options)


def _add_submit_udpet(command_line: CommandLine) -> None:
    parser = command_line.add(
        GROUP, "submit-udpet", "restore the UDPET challenge's test set under the names it asks for", _submit_udpet,
        "submit-udpet /data/TestData --output handed-in --bundle mine",
    )  # fmt: skip
    parser.add_argument("root", type=Path, metavar="DIR", help="folder of the test set: NIfTI files and their CSV")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="for submission/ and restored/")
    add = parser.add_argument_group("model").add_argument
    add_bundle(add)
    add_samples(add)
    add = parser.add_argument_group("computation").add_argument
    add_device(add)
    add_scheduler(add)


def _submit_udpet(options: argparse.Namespace) -> None:
    from MAPDiffLib.job import Job
    from MAPDiffLib.jobs.console import BatchConsole
    from training.udpet.submit import RESTORED, submit_udpet

    same = {name: getattr(options, name) for name in ("bundle", "device", "samples")}
    common = Job(input=str(options.root), output=str(options.output / RESTORED), **same)
    with BatchConsole(None) as console:
        files = submit_udpet(options.root, options.output, common, options.scheduler, console.ended)
    print(f"{len(files)} files in {files[0].parent}")
