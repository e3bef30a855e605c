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
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from MAPDiffLib.errors import Cancelled, InputError
from MAPDiffLib.job import (
    EXIT_BAD_INPUT,
    EXIT_CANCELLED,
    EXIT_DONE,
    EXIT_FAILED,
    REPORT_FILE,
    RESEARCH_USE,
)
from MAPDiffLib.jobs.command_line import CommandLine
from MAPDiffLib.jobs.libraries import check_python
from MAPDiffLib.jobs.options import FIGURE_FILE, PAGE_FILE, declare, job_of

DEMO_FIGURE_FILE = "demo.png"


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
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left to be flushed goes nowhere
        with suppress(OSError):
            print("mapdiff: stopped: nobody reads what it prints", file=sys.stderr)
        return EXIT_FAILED
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
    job = job_of(options)
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
    common = job_of(options)
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

    job, figure = job_of(options), Path(options.output) / DEMO_FIGURE_FILE
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


def _claim(path: Path, overwrite: bool, *modules: str) -> None:
    """Said before the work, not after it: the file exists, or what draws it is not installed."""
    if missing := [module for module in modules if importlib.util.find_spec(module) is None]:
        raise InputError(f"figures need {' and '.join(missing)}: pip install 'mapdiff[demo]'")
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists: give another folder, or --overwrite.")


def command_line() -> CommandLine:
    """The parser; each command calls its function here."""
    return declare(
        {"restore": _restore, "batch": _batch, "measure": _measure, "demo": _demo, "probe": _probe, "bundles": _bundles,
         "suv": _suv, "worker": _worker}
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
