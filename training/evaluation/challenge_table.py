"""The challenge's score of every method on the same unseen cases, from every dose reduction factor of the challenge."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from MAPDiffLib.files import write_csv, write_text
from MAPDiffLib.scan.volume import Volume
from training.cases.case_file import read_dose
from training.cases.regions import ORGANS, Regions, lesion_regions, organ_regions
from training.udpet.challenge_score import DRF_WEIGHTS, GROUP_WEIGHTS, REGION_WEIGHTS, Score, challenge_score, drf_score

LESION_VOXELS = 8  # fewer have no texture to speak of
Restorer = Callable[[Volume, float], np.ndarray]  # a scan and its dose -> full dose [z, y, x]


@dataclass(frozen=True)
class ScoreRow:
    """One method, one case, one dose reduction factor."""

    method: str
    case: str
    drf: int
    score: Score


def score_cases(cases: list[Path], restorers: dict[str, Restorer]) -> list[ScoreRow]:
    """The full dose of each restorer, and the scan itself, from every dose reduction factor of the challenge."""
    everything = {"input": lambda scan, dose: scan.voxels, **restorers}
    rows = []
    for case in tqdm(cases, desc="challenge", disable=None):
        full = read_dose(case, 1.0)
        voxel_ml = float(np.prod(full.spacing_mm)) / 1000
        organs, lesions = judged_regions(case, full)
        for drf in DRF_WEIGHTS:
            scan = read_dose(case, 1 / drf)
            for name, restored in everything.items():
                score = challenge_score(restored(scan, 1 / drf), full.voxels, organs, lesions, voxel_ml)
                rows.append(ScoreRow(name, case.name, drf, score))
    return rows


def judged_regions(case: Path, full: Volume) -> tuple[Regions, Regions]:
    """The challenge's four organs, and the lesions that are large enough, by name; empty without labels."""
    found = organ_regions(case, full.voxels.shape)
    lesions = enumerate(lesion_regions(case, full.voxels.shape, full.spacing_mm), 1)
    large = {f"lesion {n}": each.mask for n, each in lesions if np.count_nonzero(each.mask) >= LESION_VOXELS}
    return {name: found[name] for name in ORGANS.values() if name in found}, large


def summarise_scores(rows: list[ScoreRow]) -> dict[str, dict[str, float]]:
    """{method: {"DRF 4": mean score, ..., "all": by the challenge's weights, "global", "organs", "lesions": means}}."""
    table = {}
    for method in dict.fromkeys(row.method for row in rows):
        own = [row for row in rows if row.method == method]
        means = {drf: float(np.mean([row.score.value for row in own if row.drf == drf])) for drf in DRF_WEIGHTS}
        table[method] = {f"DRF {drf}": mean for drf, mean in means.items()} | {"all": drf_score(means)}
        for group in GROUP_WEIGHTS:
            by_drf = {
                drf: [row.score.groups[group] for row in own if row.drf == drf and group in row.score.groups]
                for drf in DRF_WEIGHTS
            }
            if all(by_drf.values()):
                table[method][group] = drf_score({drf: float(np.mean(found)) for drf, found in by_drf.items()})
    return table


def format_scores(table: dict[str, dict[str, float]]) -> str:
    """The means as text, a line per method."""
    columns = list(next(iter(table.values())))
    lines = ["method".ljust(34) + "".join(column.rjust(9) for column in columns)]
    lines += [name.ljust(34) + "".join(f"{row[column]:9.2f}" for column in columns) for name, row in table.items()]
    return "\n".join(lines)


def write_scores(rows: list[ScoreRow], folder: Path) -> None:
    """challenge.csv with every part of every row, challenge.json with the means."""
    folder.mkdir(parents=True, exist_ok=True)
    names = ["method", "case", "drf", "score", *GROUP_WEIGHTS, "nrmse", "psnr_db", "ssim"]
    names += [f"{group} {part}" for group in ("organs", "lesions") for part in REGION_WEIGHTS]
    write_csv(map(_flat, rows), names, folder / "challenge.csv")
    text = json.dumps({"weights": DRF_WEIGHTS, "means": summarise_scores(rows)}, indent=1)
    write_text(text, folder / "challenge.json")


def _flat(row: ScoreRow) -> dict:
    score = row.score
    flat = {"method": row.method, "case": row.case, "drf": row.drf, "score": score.value, **score.groups}
    flat |= {"nrmse": score.nrmse, "psnr_db": score.psnr_db, "ssim": score.ssim}
    for group in ("organs", "lesions"):
        flat |= {f"{group} {part}": error for part, error in score.errors.get(group, {}).items()}
    return flat
