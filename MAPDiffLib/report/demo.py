"""The demonstration: a simulated low-dose case restored, and compared with its own real doses: a table, a figure."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from MAPDiffLib.errors import InputError
from MAPDiffLib.job import Job, dose_file, dose_label
from MAPDiffLib.jobs.run_job import Report, run_job
from MAPDiffLib.report.figure import SUV_WINDOW, Panel, draw, projection
from MAPDiffLib.report.metrics import nmae, psnr, ssim
from MAPDiffLib.scan.volume import Volume, body_mask, read_volume

INPUT_DOSE = 0.05
LIVER = 13  # its number in a simulated case's labels.nii.gz
ERROR_WINDOW = 1.0  # SUV


@dataclass(frozen=True)
class Case:
    """What a simulated case gives to compare with, all in SUV on one grid."""

    folder: Path
    scan: Volume
    body: np.ndarray  # bool [z, y, x]
    liver: np.ndarray  # bool [z, y, x], without its rim

    def dose(self, dose: float) -> Volume:
        """The real scan of that dose. InputError when the case lacks it."""
        return read_volume(self.folder / dose_file(dose, ".nii.gz"))


def run_demo(job: Job, figure: Path, report: Report, cancelled: Callable[[], bool]) -> str:
    """Restores the 1/20-dose scan of the case folder `job.input`, draws `figure`; returns the table as text."""
    case = read_case(Path(job.input))
    job = replace(job, input=str(case.folder / dose_file(INPUT_DOSE, ".nii.gz")), format=job.format or "nii.gz")
    started = time.perf_counter()
    result = json.loads(run_job(job, report, cancelled).read_text(encoding="utf-8"))
    seconds = time.perf_counter() - started
    report({"type": "status", "message": "Comparing with the real doses"})
    panels = [projection(case.scan, f"input\n{dose_label(INPUT_DOSE)} dose", SUV_WINDOW)]
    rows = []
    for entry in result["files"]:
        dose, restored = entry["dose"], read_volume(Path(job.output) / entry["file"])
        panels.append(projection(restored, f"restored\n{entry['label']} dose", SUV_WINDOW))
        real = case.dose(dose)
        rows.append([*_row(case, dose, restored, real), f"{result['doses'][f'{dose:g}']['seconds']:.1f}"])
    if dose == 1.0:
        panels += _against_full(restored, real)
    draw(panels, f"simulated {case.folder.name}, SUV 0 to {SUV_WINDOW:g}", figure)
    return _table(rows, dose_label(INPUT_DOSE)) + f"\nrestored in {seconds:.1f} s on {result['device']}"


def read_case(folder: Path) -> Case:
    """A case written by training.simulate. InputError when it is none."""
    if not (folder / "case.json").is_file():
        raise InputError(f"{folder} holds no case.json: make a case with mapdiff-train simulate.")
    scan = read_volume(folder / dose_file(INPUT_DOSE, ".nii.gz"))
    full = read_volume(folder / dose_file(1.0, ".nii.gz"))
    liver = ndimage.binary_erosion(read_volume(folder / "labels.nii.gz").voxels == LIVER, iterations=2)
    return Case(folder, scan, body_mask(full.voxels, full.spacing_mm), liver)


def liver_noise(case: Case, volume: Volume) -> float:
    """Coefficient of variation in the liver, in percent; nan without a liver."""
    values = volume.voxels[case.liver]
    return 100 * float(values.std() / values.mean()) if values.size else float("nan")


def _row(case: Case, dose: float, restored: Volume, real: Volume) -> list[str]:
    """One line of the table: the input and the restored dose against the real scan of that dose."""
    row = [dose_label(dose)]
    for measure, digits in ((nmae, 3), (psnr, 2), (ssim, 4)):
        for volume in (case.scan, restored):
            row.append(f"{measure(volume.voxels, real.voxels, case.body):.{digits}f}")
    return row + [f"{liver_noise(case, volume):.1f}" for volume in (case.scan, restored, real)]


def _against_full(restored: Volume, real: Volume) -> list[Panel]:
    error = real.with_voxels(np.abs(restored.voxels - real.voxels))
    return [
        projection(real, "real\nfull dose", SUV_WINDOW),
        projection(error, f"absolute error\nSUV 0 to {ERROR_WINDOW:g}", ERROR_WINDOW),
    ]


def _table(rows: list[list[str]], input_label: str) -> str:
    heads = ["dose", *["input", "restored"] * 3, "input", "restored", "real", "seconds"]
    groups = f"{'':6}{'NMAE':^20}{'PSNR (dB)':^20}{'SSIM':^20}     liver noise (CV %)"
    lines = [f"{first:<6}" + "".join(f"{cell:>10}" for cell in rest) for first, *rest in (heads, *rows)]
    about = f"Input ({input_label}) and restored dose against the real scan of each dose; in the body, PSNR peak SUV 20"
    return "\n".join([about, groups, *lines])
