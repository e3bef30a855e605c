"""Command line: mapdiff restore | batch | measure | demo | suv | worker | probe | bundles.

Exit codes: 0 done, 1 failed, 2 bad job or input, 3 cancelled. torch is not loaded before a command needs it.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from MAPDiffLib import __version__
from MAPDiffLib.errors import Cancelled, InputError
from MAPDiffLib.job import (
    DEFAULT_BUNDLE,
    DOSES_AS,
    EXIT_BAD_INPUT,
    EXIT_CANCELLED,
    EXIT_DONE,
    EXIT_FAILED,
    FORMATS,
    GUARDS,
    PRECISIONS,
    REPORT_FILE,
    RESEARCH_USE,
    Job,
    parse_dose,
    parse_doses,
)
from MAPDiffLib.jobs.command_line import CommandLine
from MAPDiffLib.jobs.libraries import check_python

FIGURE_FILE, DEMO_FIGURE_FILE, PAGE_FILE = "figure.png", "demo.png", "report.html"


def main(arguments: list[str] | None = None) -> int:
    """Runs one command (default: of sys.argv) and returns its exit code; a worker or a cancelled command ends here."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a name that the console has no letters for must not end what succeeded
            stream.reconfigure(errors="backslashreplace")
    try:
        check_python()
        options = command_line().parser.parse_args(arguments)
        return options.run(options)
    except InputError as error:
        print(f"mapdiff: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except (Cancelled, KeyboardInterrupt):
        print("mapdiff: cancelled; the doses already written stay", file=sys.stderr)
        _leave(EXIT_CANCELLED)
    except (OSError, MemoryError, ImportError, RuntimeError) as error:  # RuntimeError: whatever torch meets
        print(f"mapdiff: failed: {type(error).__name__}: {_first_line(error)}", file=sys.stderr)
        return EXIT_FAILED


def _first_line(error: Exception) -> str:
    """What happened, and what may help where it happened on a GPU; torch adds lines for its own developers."""
    first = next(iter(str(error).strip().splitlines()), "")
    return first + (" Try again, with --device cpu if it comes back." if "CUDA" in first or "cuDNN" in first else "")


def _restore(options: argparse.Namespace) -> int:
    from MAPDiffLib.jobs.console import Console
    from MAPDiffLib.jobs.run_job import cancel_on_signals, run_job

    started = time.perf_counter()
    job = _job(options)
    if options.figure:
        _claim(Path(options.output) / FIGURE_FILE, options.overwrite, "matplotlib")
    if options.report:
        _claim(Path(options.output) / PAGE_FILE, options.overwrite)
    with Console() as console, cancel_on_signals() as cancelled:
        report = run_job(job, console.report, cancelled.is_set)
    if options.figure:
        from MAPDiffLib.report.figure import draw_restoration

        print(draw_restoration(report, Path(options.output) / FIGURE_FILE))
    if options.report:
        from MAPDiffLib.report.html_page import write_html

        print(write_html(report, Path(options.output) / PAGE_FILE))
    print(f"{report}\n{time.perf_counter() - started:.1f} s. {RESEARCH_USE}")
    return EXIT_DONE


def _batch(options: argparse.Namespace) -> int:
    from MAPDiffLib.jobs.batch import SUMMARY_FILE, restore_batch
    from MAPDiffLib.jobs.batch_inputs import find_items
    from MAPDiffLib.jobs.console import BatchConsole
    from MAPDiffLib.jobs.run_job import cancel_on_signals
    from MAPDiffLib.model.bundle import load_bundle

    output = Path(options.output)
    common = _job(options)
    items, passed_over = find_items(Path(options.input), output)
    jobs = [
        replace(
            common, input=item.input, output=str(output / item.name), input_dose=item.input_dose or common.input_dose,
            doses=item.doses or common.doses,
        )
        for item in items
    ]  # fmt: skip
    load_bundle(options.bundle)  # a wrong name is one error now, not one a scan
    with BatchConsole(len(jobs)) as console, cancel_on_signals() as cancelled:
        rows = restore_batch(
            jobs, output, options.retry, options.scheduler, console.ended, cancelled.is_set, passed_over
        )  # fmt: skip
    for status in ("passed over", "failed"):
        for row in rows:
            if row["status"] == status:
                print(f"{status}: {row['name']}: {row['reason']}", file=sys.stderr)
    counts = Counter(row["status"] for row in rows)
    whole = f"{counts['done']} of {counts['done'] + counts['failed'] + counts['waiting']} scans restored"
    passed = f", {counts['passed over']} files or folders passed over" if counts["passed over"] else ""
    print(f"{whole}{passed}\n{output / SUMMARY_FILE}\n{RESEARCH_USE}")
    return EXIT_FAILED if counts["failed"] else EXIT_DONE


def _measure(options: argparse.Namespace) -> int:
    from MAPDiffLib.report.region_statistics import (
        JSON_FILE,
        TABLE_FILE,
        format_statistics,
        region_statistics,
        write_statistics,
    )

    folder = Path(options.output or options.results)
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder: give the folder of a restoration, or an --output that exists.")
    for name in (TABLE_FILE, JSON_FILE, *([PAGE_FILE] if options.report else [])):
        _claim(folder / name, options.overwrite)
    rows = region_statistics(options.results, options.mask)
    print(format_statistics(rows))
    print(*write_statistics(rows, folder), sep="\n")
    if options.report:
        from MAPDiffLib.report.html_page import write_html

        print(write_html(Path(options.results) / REPORT_FILE, folder / PAGE_FILE))
    print(RESEARCH_USE)
    return EXIT_DONE


def _demo(options: argparse.Namespace) -> int:
    from MAPDiffLib.jobs.console import Console
    from MAPDiffLib.jobs.run_job import cancel_on_signals

    job, figure = _job(options), Path(options.output) / DEMO_FIGURE_FILE
    _claim(figure, options.overwrite, "matplotlib", "skimage")
    from MAPDiffLib.report.demo import run_demo

    with Console() as console, cancel_on_signals() as cancelled:
        table = run_demo(job, figure, console.report, cancelled.is_set)
    print(f"\n{table}\n\n{figure}\n{RESEARCH_USE}")
    return EXIT_DONE


def _worker(options: argparse.Namespace) -> NoReturn:
    from MAPDiffLib.jobs.worker import work

    _leave(work(options.job))


def _leave(code: int) -> NoReturn:
    """Ends the process at once: all is said and written; nobody waits for torch to unload or for a read given up."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _probe(options: argparse.Namespace) -> int:
    from MAPDiffLib.jobs.probe import probe

    print(json.dumps(probe(), indent=2))
    return EXIT_DONE


def _suv(options: argparse.Namespace) -> int:
    from MAPDiffLib.scan.dicom_reader import SUV_FACTOR, SUV_REFUSED, series_units

    found = series_units([Path(file) for file in options.files])
    if options.json:
        print(json.dumps(found))
    elif SUV_FACTOR in found:
        print(f"{found['units']}; SUV = value x {float(found[SUV_FACTOR]):.5g} (body weight)")
    else:
        print(f"{found['units']}; {found[SUV_REFUSED]}")
    return EXIT_DONE


def _bundles(options: argparse.Namespace) -> int:
    from MAPDiffLib.model.bundle import list_bundles, load_bundle

    if options.action == "show":
        bundle = load_bundle(options.name)
        print(json.dumps({"folder": str(bundle.folder), **bundle.manifest.to_dict()}, indent=2))
        return EXIT_DONE
    for bundle in list_bundles():
        print(f"{bundle['name']}  {bundle['bytes'] / 1e6:.1f} MB  {bundle['problem'] or bundle['description']}")
    return EXIT_DONE


def _job(options: argparse.Namespace) -> Job:
    doses = parse_doses(options.doses) if options.doses is not None else None
    input_dose = parse_dose(options.input_dose) if options.input_dose is not None else None
    same = (
        "input output bundle device precision strength samples seed tile gpu_memory_gb guard doses_as format"
        " overwrite"
    ).split()
    return Job(doses=doses, input_dose=input_dose, **{name: getattr(options, name) for name in same})


def _claim(path: Path, overwrite: bool, *modules: str) -> None:
    """Said before the work, not after it: the file exists, or what draws it is not installed."""
    if missing := [module for module in modules if importlib.util.find_spec(module) is None]:
        raise InputError(f"figures need {' and '.join(missing)}: pip install 'mapdiff[demo]'")
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists: give another folder, or --overwrite.")


def command_line() -> CommandLine:
    command_line = CommandLine("mapdiff", f"Restores low-dose PET volumes, dose by dose. {RESEARCH_USE}", __version__)
    _add_restoring(command_line)
    _add_other(command_line)
    return command_line


def _add_restoring(command_line: CommandLine) -> None:
    restoring = "restore"
    restore = command_line.add(
        restoring, "restore", "restore one scan", _restore,
        "restore scan.nii.gz --output restored --input-dose 1/20 --doses 1/4,full",
    )  # fmt: skip
    restore.add_argument("input", metavar="SCAN", help="NIfTI, NRRD or MetaImage file, or a folder of DICOM slices")
    results = _add_options(restore)
    results.add_argument("--figure", action="store_true", help=f"also draw {FIGURE_FILE}")
    results.add_argument("--report", action="store_true", help=f"also write {PAGE_FILE}: pictures for any browser")

    batch = command_line.add(
        restoring, "batch", "restore many scans; goes on where it was stopped", _batch,
        "batch list.csv --output restored --doses 1/4,full",
    )  # fmt: skip
    batch.add_argument(
        "input", metavar="LIST", help="folder of scans, or a CSV or text file (CSV: input, name, input_dose, doses)"
    )
    _add_options(batch)
    many = batch.add_argument_group("many scans")
    many.add_argument("--retry", action="store_true", help="try again the scans that could not be restored")
    many.add_argument(
        "--scheduler", metavar="ADDRESS", help="Dask scheduler whose workers do the work, or its file (default: none)"
    )

    measure = command_line.add(
        restoring, "measure", "measure regions of a restored scan: SUVmean, max, peak, with a best estimate", _measure,
        "measure restored --mask lesions.nii.gz",
    )  # fmt: skip
    measure.add_argument("results", metavar="DIR", help="folder of a restoration, with its full dose")
    measure.add_argument(
        "--mask", required=True, metavar="FILE", help="labels, a Slicer .seg.nrrd or a DICOM SEG file, of this scan"
    )
    measure.add_argument("--output", metavar="DIR", help="folder for regions.csv and regions.json (default: DIR)")
    measure.add_argument("--report", action="store_true", help=f"also write {PAGE_FILE}, with the regions in it")
    measure.add_argument("--overwrite", action="store_true", help="replace those of an earlier time")

    demo = command_line.add(
        restoring, "demo", "restore a simulated case and compare it with its real doses", _demo,
        "demo cases/test/case-00000 --output demo",
    )  # fmt: skip
    demo.add_argument("input", metavar="CASE", help="a case folder written by `mapdiff-train simulate`")
    _add_options(demo)


def _add_other(command_line: CommandLine) -> None:
    other = "models and devices"
    command_line.add(other, "probe", "print devices, versions and bundles as JSON", _probe, "probe")
    bundles = command_line.add(other, "bundles", "list the model bundles, or show one", _bundles, "bundles show NAME")
    actions = bundles.add_subparsers(dest="action", required=True, metavar="list | show")
    actions.add_parser("list", help="name, size and description of each")
    actions.add_parser("show", help="check one whole and print its bundle.json").add_argument("name", metavar="NAME")

    suv = command_line.add(other, "suv", "tell a PET series' units and its SUV factor", _suv, "suv series/*.dcm")
    suv.fromfile_prefix_chars = "@"
    suv.add_argument("files", nargs="+", metavar="FILE", help="the DICOM files; @LIST is a file that names one a line")
    suv.add_argument("--json", action="store_true", help="print one JSON object")

    worker = command_line.add(
        "for programs", "worker", "run a job.json: messages as JSON lines, `cancel` on standard input", _worker,
        "worker job.json",
    )  # fmt: skip
    worker.add_argument("job", metavar="FILE", help="a job as JSON, the fields of MAPDiffLib.job.Job")


def _add_options(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """The options of every restoration; returns the group of those about results."""
    add = parser.add_argument_group("doses").add_argument
    add("--input-dose", metavar="DOSE", help="dose of the input, as 1/20 or 0.05 (default: assumed to be 1/20)")
    add(
        "--doses", metavar="DOSES",
        help="doses to restore, as 1/10,1/4,full or 0.1,0.25,1 (default: every anchor above the input's)",
    )  # fmt: skip
    add(
        "--doses-as", default="mean", choices=DOSES_AS,
        help="each dose as the mean of its scans (least error), as one scan with its noise (synthetic), or as both",
    )  # fmt: skip
    add = parser.add_argument_group("model").add_argument
    add("--bundle", default=DEFAULT_BUNDLE, metavar="DIR", help="name or folder of a model bundle")
    add(
        "--strength", type=float, metavar="TIMES",
        help="noise to take off, from 0.5, faithful, to 4, smooth (default: the bundle's)",
    )  # fmt: skip
    add("--samples", type=int, metavar="N", help="samples to average (default: the bundle's)")
    add("--guard", default="normal", choices=GUARDS, help="how readily lost local activity is put back")
    add("--seed", type=int, default=0, metavar="N", help="same seed, same result")
    add = parser.add_argument_group("computation").add_argument
    add("--device", default="auto", metavar="NAME", help="auto, cpu, cuda or cuda:0")
    add("--precision", default="auto", choices=PRECISIONS, help="of the network")
    add("--tile", type=int, metavar="VOXELS", help="edge of a tile (default: what fits)")
    add("--gpu-memory", dest="gpu_memory_gb", type=float, metavar="GB", help="most to use of a GPU (default: all)")
    results = parser.add_argument_group("results")
    add = results.add_argument
    add("--output", required=True, metavar="DIR", help="folder for the results, made if missing")
    add("--format", choices=FORMATS, help="of the results (default: the input's own; nii.gz for a folder of DICOM)")
    add("--overwrite", action="store_true", help="replace the results of an earlier run in DIR")
    return results


if __name__ == "__main__":
    sys.exit(main())
