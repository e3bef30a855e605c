"""The table: every method on the same unseen cases, against the real scan of each dose, inside the body."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from MAPDiffLib.doses import ANCHOR_DOSES, dose_label
from MAPDiffLib.metrics import nmae, psnr, ssim
from MAPDiffLib.volume import body_mask
from training.baselines import GAUSSIAN_WIDTHS_MM, Method, gaussian, unprocessed, with_mixes
from training.datasets import read_dose

PEAK_SUV = 20.0
SCORES = ("nmae", "psnr", "ssim", "seconds")


@dataclass(frozen=True)
class Row:
    """One method, one case, one dose. `evaluations`: of a network, for all doses of the scan."""

    method: str
    case: str
    dose: float
    nmae: float
    psnr: float
    ssim: float
    seconds: float


def evaluate(cases: Iterable[Path], methods: dict[str, Method], input_dose: float, with_ssim: bool = True) -> list[Row]:
    """Run every method on every case and score every dose. For MAP-Diff the closed-form mix of its own full-dose result
    gets rows of its own ("<method>, mix"): the control of every intermediate dose."""
    everything = {"input": unprocessed, **{f"Gaussian {w:g} mm": gaussian(w) for w in GAUSSIAN_WIDTHS_MM}, **methods}
    rows = []
    for case in tqdm(list(cases), desc="cases", disable=None):
        scan = read_dose(case, input_dose)
        real = {dose: read_dose(case, dose).voxels for dose in ANCHOR_DOSES if dose > input_dose}
        body = body_mask(real[1.0], scan.spacing_mm)
        for name, method in everything.items():
            started = time.perf_counter()
            results = {name: method(scan, input_dose)}
            seconds = time.perf_counter() - started
            if name.startswith("MAP-Diff"):
                results[f"{name}, mix"] = with_mixes(scan, input_dose, results[name][1.0])
            for label, images in results.items():
                for dose, image in images.items():
                    rows.append(
                        Row(
                            label, case.name, dose,
                            nmae(image, real[dose], body), psnr(image, real[dose], body, PEAK_SUV),
                            ssim(image, real[dose], body) if with_ssim else float("nan"), seconds,
                        )  # fmt: skip
                    )
    return rows


def summarise(rows: list[Row]) -> dict[str, dict[str, dict[str, float]]]:
    """{method: {dose label: {nmae, psnr, ssim, seconds}}}, means over the cases."""
    table: dict = {}
    for method in dict.fromkeys(row.method for row in rows):
        for dose in sorted({row.dose for row in rows if row.method == method}):
            chosen = [row for row in rows if (row.method, row.dose) == (method, dose)]
            table.setdefault(method, {})[dose_label(dose)] = {
                key: float(np.mean([getattr(row, key) for row in chosen])) for key in SCORES
            }
    return table


def best_gaussian(table: dict, key: str) -> str:
    """The Gaussian that does best at full dose on these very cases: lowest NMAE or highest PSNR."""
    names = [name for name in table if name.startswith("Gaussian")]
    return (min if key == "nmae" else max)(names, key=lambda name: table[name]["full"][key])


def format_table(table: dict) -> str:
    """The means as text: a line per method, NMAE | PSNR | SSIM per dose."""
    doses = [dose_label(dose) for dose in ANCHOR_DOSES]
    lines = ["method".ljust(34) + "".join(dose.center(24) for dose in doses) + "   s"]
    for method, row in table.items():
        cells = "".join(_cell(row.get(dose)).center(24) for dose in doses)
        lines.append(method.ljust(34) + cells + f"{row['full']['seconds']:6.1f}")
    return "\n".join(lines)


def _cell(means: dict[str, float] | None) -> str:
    return f"{means['nmae']:.4f} {means['psnr']:6.2f} {means['ssim']:.4f}" if means else "-"


def write_table(rows: list[Row], folder: Path, facts: dict) -> None:
    """table.csv with every row, table.json with the means and what they were measured on."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "table.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(asdict(rows[0])))
        writer.writeheader()
        writer.writerows(map(asdict, rows))
    text = {"facts": {**facts, "psnr_peak_suv": PEAK_SUV}, "means": summarise(rows)}
    (folder / "table.json").write_text(json.dumps(text, indent=1))
