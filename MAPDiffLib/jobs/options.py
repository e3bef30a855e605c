"""What can be typed behind `mapdiff`: its commands, their options, units and defaults."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping

from MAPDiffLib import __version__
from MAPDiffLib.job import DOSES_AS, FORMATS, GUARDS, RESEARCH_USE, Job, parse_dose, parse_doses
from MAPDiffLib.jobs.command_line import CommandLine
from MAPDiffLib.jobs.shared_options import add_bundle, add_device, add_precision, add_samples, add_scheduler

FIGURE_FILE, PAGE_FILE = "figure.png", "report.html"
Command = Callable[[argparse.Namespace], int]


def declare(run: Mapping[str, Command]) -> CommandLine:
    """The parser of all commands; `run` holds by a command's name what is called with the options typed."""
    command_line = CommandLine("mapdiff", f"Restores low-dose PET volumes, dose by dose. {RESEARCH_USE}", __version__)
    _add_restoring(command_line, run)
    _add_other(command_line, run)
    return command_line


def job_of(options: argparse.Namespace) -> Job:
    """The job that a command with `_add_options` was given. InputError for a dose that is none."""
    doses = parse_doses(options.doses) if options.doses is not None else None
    input_dose = parse_dose(options.input_dose) if options.input_dose is not None else None
    same = "input output bundle device precision strength samples seed tile gpu_memory_gb guard doses_as".split()
    same += ["format", "overwrite"]
    return Job(doses=doses, input_dose=input_dose, **{name: getattr(options, name) for name in same})


def _add_restoring(command_line: CommandLine, run: Mapping[str, Command]) -> None:
    restoring = "restore"
    restore = command_line.add(
        restoring, "restore", "restore one scan", run["restore"],
        "restore scan.nii.gz --output restored --input-dose 1/20 --doses 1/4,full",
    )  # fmt: skip
    restore.add_argument("input", metavar="SCAN", help="NIfTI, NRRD or MetaImage file, or a folder of DICOM slices")
    results = _add_options(restore)
    results.add_argument("--figure", action="store_true", help=f"also draw {FIGURE_FILE}")
    results.add_argument("--report", action="store_true", help=f"also write {PAGE_FILE}: pictures for any browser")

    batch = command_line.add(
        restoring, "batch", "restore many scans; goes on where it was stopped", run["batch"],
        "batch list.csv --output restored --doses 1/4,full",
    )  # fmt: skip
    batch.add_argument(
        "input", metavar="LIST", help="folder of scans, or a CSV or text file (CSV: input, name, input_dose, doses)"
    )
    _add_options(batch)
    many = batch.add_argument_group("many scans")
    many.add_argument("--retry", action="store_true", help="try again the scans that could not be restored")
    add_scheduler(many.add_argument)

    measure = command_line.add(
        restoring, "measure", "measure regions of a restored scan: SUVmean, max, peak, with a best estimate",
        run["measure"], "measure restored --mask lesions.nii.gz",
    )  # fmt: skip
    measure.add_argument("results", metavar="DIR", help="folder of a restoration, with its full dose")
    measure.add_argument(
        "--mask", required=True, metavar="FILE", help="labels, a Slicer .seg.nrrd or a DICOM SEG file, of this scan"
    )
    measure.add_argument("--output", metavar="DIR", help="folder for regions.csv and regions.json (default: DIR)")
    measure.add_argument("--report", action="store_true", help=f"also write {PAGE_FILE}, with the regions in it")
    measure.add_argument("--overwrite", action="store_true", help="replace those of an earlier time")

    demo = command_line.add(
        restoring, "demo", "restore a simulated case and compare it with its real doses", run["demo"],
        "demo cases/test/case-00000 --output demo",
    )  # fmt: skip
    demo.add_argument("input", metavar="CASE", help="a case folder written by `mapdiff-train simulate`")
    _add_options(demo)


def _add_other(command_line: CommandLine, run: Mapping[str, Command]) -> None:
    other, listing = "models and devices", "list the model bundles, or show one"
    command_line.add(other, "probe", "print devices, versions and bundles as JSON", run["probe"], "probe")
    bundles = command_line.add(other, "bundles", listing, run["bundles"], "bundles show NAME")
    actions = bundles.add_subparsers(dest="action", required=True, metavar="list | show")
    actions.add_parser("list", help="name, size and description of each")
    actions.add_parser("show", help="check one whole and print its bundle.json").add_argument("name", metavar="NAME")

    suv = command_line.add(other, "suv", "tell a PET series' units and its SUV factor", run["suv"], "suv series/*.dcm")
    suv.fromfile_prefix_chars = "@"
    suv.add_argument("files", nargs="+", metavar="FILE", help="the DICOM files; @LIST is a file that names one a line")
    suv.add_argument("--json", action="store_true", help="print one JSON object")

    worker = command_line.add(
        "for programs", "worker", "run a job.json: messages as JSON lines, `cancel` on standard input", run["worker"],
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
    add_bundle(add)
    add(
        "--strength", type=float, metavar="TIMES",
        help="noise to take off, from 0.5, faithful, to 4, smooth (default: the bundle's)",
    )  # fmt: skip
    add_samples(add)
    add("--guard", default="normal", choices=GUARDS, help="how readily lost local activity is put back")
    add("--seed", type=int, default=0, metavar="N", help="same seed, same result")
    add = parser.add_argument_group("computation").add_argument
    add_device(add)
    add_precision(add)
    add("--tile", type=int, metavar="VOXELS", help="edge of a tile (default: what fits)")
    add("--gpu-memory", dest="gpu_memory_gb", type=float, metavar="GB", help="most to use of a GPU (default: all)")
    results = parser.add_argument_group("results")
    add = results.add_argument
    add("--output", required=True, metavar="DIR", help="folder for the results, made if missing")
    add("--format", choices=FORMATS, help="of the results (default: the input's own; nii.gz for a folder of DICOM)")
    add("--overwrite", action="store_true", help="replace the results of an earlier run in DIR")
    return results
