"""What is measured on training cases before training: the anchors' timesteps and how noise tells a scan's dose.

Degradation matching (MAP-Diff, arXiv 2603.02012): tau_j = argmin_t |d_sim(t) - d_j|^2 with d = (NMAE, 1 - SSIM) inside
the body; d_sim(t) of the noised full-dose scan x_t against x_0, d_j of the real dose-j scan against full dose.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from MAPDiffLib.files import write_json
from MAPDiffLib.model.diffusion import Diffusion
from MAPDiffLib.report.metrics import nmae, ssim
from MAPDiffLib.restoration.doses import match_degradation
from MAPDiffLib.restoration.intensity import Intensity
from MAPDiffLib.restoration.noise import relative_noise
from MAPDiffLib.restoration.sampling import draw_noise
from MAPDiffLib.scan.volume import body_mask
from training.cases.case_file import ALL_DOSES, derived_doses, read_dose

SLAB = 48  # slices in the middle of the body: enough for a stable degradation, quick to measure
GRID = (*range(0, 100, 10), *range(100, 300, 20), *range(300, 701, 100))


@dataclass(frozen=True)
class Calibration:
    """taus: timestep per dose; noise: mean relative noise per dose; scatter: sd of log(dose) read off the noise."""

    taus: dict[float, int]
    noise: dict[float, float]
    scatter: float

    def save(self, path: Path) -> None:
        """Write calibration.json."""
        text = {
            "taus": {f"{dose:g}": tau for dose, tau in self.taus.items()},
            "dose_estimate": {"doses": list(self.noise), "noise": list(self.noise.values()), "scatter": self.scatter},
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(text, path)


def calibrate(cases: list[Path], diffusion: Diffusion, matched: int = 4) -> Calibration:
    """Match degradations on the first `matched` cases (a median over them) and fit the noise curve on all."""
    matches = [match_case(case, diffusion) for case in tqdm(cases[:matched], desc="degradation", disable=None)]
    taus = {dose: round(tau) for dose, tau in over_cases(matches, np.median).items()}
    noises = [noise_of_case(case) for case in tqdm(cases, desc="noise", disable=None)]
    log_noises = [{dose: np.log(noise) for dose, noise in row.items()} for row in noises]
    curve = over_cases(log_noises, np.mean)
    read_off = [
        np.interp(-value, [-curve[d] for d in ALL_DOSES], np.log(ALL_DOSES)) - np.log(dose)
        for row in log_noises
        for dose, value in row.items()
        if dose < 1  # the ends are held, so full dose tells little
    ]
    return Calibration(taus, {dose: float(np.exp(value)) for dose, value in curve.items()}, float(np.std(read_off)))


def over_cases(rows: list[dict[float, float]], middle: Callable) -> dict[float, float]:
    """Per dose the middle of the cases that measured it; a dose that none did lies between its neighbours, linear in
    log(dose)."""
    known = {dose: [row[dose] for row in rows if dose in row] for dose in ALL_DOSES}
    measured = {dose: float(middle(values)) for dose, values in known.items() if values}
    places = np.log(list(measured))
    return {dose: float(np.interp(np.log(dose), places, list(measured.values()))) for dose in ALL_DOSES}


def measured_doses(case: Path) -> list[float]:
    """The doses of a case that were measured and not computed from others."""
    return [dose for dose in ALL_DOSES if dose not in derived_doses(case)]


def match_case(case: Path, diffusion: Diffusion) -> dict[float, int]:
    """tau per dose for one case."""
    full = read_dose(case, 1.0)
    body = body_mask(full.voxels, full.spacing_mm)
    intensity = Intensity.of_scan(full.voxels, body)
    middle = int(np.median(np.flatnonzero(body.any(axis=(1, 2)))))
    slab = slice(max(0, middle - SLAB // 2), middle + SLAB // 2)
    mask, truth = body[slab], full.voxels[slab]
    x0 = intensity.to_network(torch.from_numpy(truth))
    noise = draw_noise(x0.shape, seed=0, number=0)

    def degradation(image: np.ndarray) -> tuple[float, float]:
        return nmae(image, truth, mask), 1 - ssim(image, truth, mask)

    curve = [degradation(intensity.to_physical(diffusion.noised(x0, t, noise)).numpy()) for t in GRID]
    every = np.arange(GRID[-1] + 1)
    simulated = np.stack([np.interp(every, GRID, [d[k] for d in curve]) for k in (0, 1)], axis=1)
    real = {dose: degradation(read_dose(case, dose).voxels[slab]) for dose in measured_doses(case)}
    return {dose: match_degradation(simulated, found) for dose, found in real.items()}


def noise_of_case(case: Path) -> dict[float, float]:
    """Relative noise per dose, each with the body mask of its own scan, as a restoration would measure it."""
    noise = {}
    for dose in measured_doses(case):
        scan = read_dose(case, dose)
        noise[dose] = relative_noise(scan.voxels, body_mask(scan.voxels, scan.spacing_mm), scan.spacing_mm)
    return noise
