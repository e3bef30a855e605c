"""What validation cases decide after training, for each input dose: weights per dose, the uncertainty's scale, and the
widest noise that the network knows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import minimize, minimize_scalar
from scipy.stats import ttest_1samp

from MAPDiffLib.model.diffusion import Diffusion
from MAPDiffLib.model.network import DenoisingUNet
from MAPDiffLib.restoration.activity_guard import guard_activity
from MAPDiffLib.restoration.box import BodyBox
from MAPDiffLib.restoration.device import Compute
from MAPDiffLib.restoration.doses import ANCHOR_DOSES, mix
from MAPDiffLib.restoration.intensity import Intensity
from MAPDiffLib.restoration.noise import noise_volume_mm3, noise_widths
from MAPDiffLib.restoration.sampling import evaluate_path
from MAPDiffLib.restoration.tiles import TiledNetwork
from MAPDiffLib.scan.volume import body_mask
from training.cases.case_file import read_dose

VOXELS = 40_000  # drawn per case: the fit has a handful of unknowns
SIGNIFICANT = 0.01  # level of the test over cases that an anchored dose must pass to get a share
# What it must come nearer by, in units of the mix's error: its stop costs full dose a sample, worth half of that.
WORTHWHILE = 0.0005
COVERAGE = 0.91  # of the 90 % interval: a little wide, since fitted to 90 % it held 85 % on scanners not fitted on


@dataclass(frozen=True)
class Measured:
    """Body voxels of one case: scan [n], x0_hat per timestep [k, n], real doses {dose: [n]}, spread [n]."""

    scan: np.ndarray
    estimates: np.ndarray
    real: dict[float, np.ndarray]
    spread: np.ndarray


def measure(
    network: DenoisingUNet, diffusion: Diffusion, case: Path, dose: float, timesteps: list[int], samples: int
) -> Measured:
    """Restore one case and keep random voxels of its body."""
    volume = read_dose(case, dose)
    body = body_mask(volume.voxels, volume.spacing_mm)
    intensity = Intensity.of_scan(volume.voxels, body)
    box = BodyBox.around(body, network.config.stride)
    tiled = TiledNetwork(network, box.cut(body), Compute(torch.device("cpu"), torch.float32))
    evaluations = list(
        evaluate_path(tiled, diffusion, box.cut(volume.voxels), intensity, dose, timesteps, samples, seed=1)
    )
    inside = np.flatnonzero(body[box.slices])
    scan, mask = (box.trim(box.cut(array)) for array in (volume.voxels, body))
    chosen = np.random.default_rng(0).choice(inside, min(VOXELS, len(inside)), replace=False)

    def pick(array: np.ndarray | torch.Tensor) -> np.ndarray:
        return np.asarray(array).ravel()[chosen]

    return Measured(
        pick(volume.voxels[box.slices]),
        # Guarded, as every dose will be: weights shall not mend what the guard mends.
        np.stack([pick(guard_activity(box.trim(e.x0_hat), scan, mask, volume.spacing_mm)[0]) for e in evaluations]),
        {d: pick(read_dose(case, d).voxels[box.slices]) for d in ANCHOR_DOSES if d > dose},
        pick(box.trim(evaluations[-1].spread)),
    )


def fit_weights(measured: list[Measured], input_dose: float, timesteps: list[int], anchors: dict[int, float]) -> dict:
    """Weights per dose, minimising the mean NMAE against the real dose: the combine of a fit in bundle.json.

    estimate, of full dose: convex weights over all evaluations. anchored, of a lower dose: how much of it is the x0_hat
    at its own timestep rather than the closed-form mix with full dose. Whether that helps `granted` decides.
    """
    weights = _estimate_weights(measured)
    names = map(str, timesteps)
    combine = {}
    for k, t in enumerate(timesteps):
        if t in anchors and anchors[t] < 1:
            combine[f"{anchors[t]:g}"] = {"anchored": _anchored_share(measured, weights, input_dose, anchors[t], k)}
    rounded = (round(float(w), 4) for w in weights)
    return combine | {"1": {"estimate": dict(zip(names, rounded, strict=True))}}


def _estimate_weights(measured: list[Measured]) -> np.ndarray:
    """Convex weights over the evaluations: the softmax of free numbers."""

    def weights(unknowns: np.ndarray) -> np.ndarray:
        exponent = np.exp(unknowns - unknowns.max())
        return (exponent / exponent.sum()).astype(np.float32)

    def error(unknowns: np.ndarray) -> float:
        return float(np.mean([_nmae(weights(unknowns) @ m.estimates, m.real[1.0]) for m in measured]))

    count = len(measured[0].estimates)
    starts = [np.zeros(count), np.r_[3.0, np.zeros(count - 1)]]
    found = [minimize(error, start, method="Powell", options={"xtol": 1e-2, "ftol": 1e-5}) for start in starts]
    return weights(min(found, key=lambda result: result.fun).x)


def _anchored_share(
    measured: list[Measured], weights: np.ndarray, input_dose: float, dose: float, evaluation: int
) -> float:
    mixed = [mix(m.scan, weights @ m.estimates, input_dose, dose) for m in measured]

    def error(share: float) -> float:
        pairs = zip(measured, mixed, strict=True)
        return np.mean([_anchored_error(m, image, evaluation, dose, share) for m, image in pairs])

    return round(float(minimize_scalar(error, bounds=(0, 1), method="bounded").x), 4)


def measured_over_mixes(m: Measured, combine: dict, input_dose: float, timesteps: list[int], anchors: dict) -> dict:
    """{anchored dose: its NMAE on one case, with these weights, in units of the closed-form mix's}."""
    full = np.array(list(combine["1"]["estimate"].values()), np.float32) @ m.estimates
    found = {}
    for t, dose in anchors.items():
        mixed, share = mix(m.scan, full, input_dose, dose), combine[f"{dose:g}"]["anchored"]
        found[dose] = _anchored_error(m, mixed, timesteps.index(t), dose, share) / _nmae(mixed, m.real[dose])
    return found


def _anchored_error(m: Measured, mixed: np.ndarray, evaluation: int, dose: float, share: float) -> float:
    """NMAE of a dose that is its closed-form mix but for this share of the x0_hat of an evaluation."""
    return _nmae(mixed + share * (m.estimates[evaluation] - mixed), m.real[dose])


def granted(combine: dict, alike: list[dict[float, float]], unlike: list[dict[float, float]]) -> dict:
    """The combine of a fit, its shares only where they help: 0 where an anchored dose is not nearer to the real one
    than the mix by what is WORTHWHILE and more than chance, on all cases, and on average of the unlike ones at all.

    alike, unlike: per case {anchored dose: NMAE in units of the mix's}, on scanners of training and on others. One case
    tells nothing from chance.
    """

    def helps(dose: float) -> bool:
        elsewhere = [case[dose] for case in unlike]
        ratios = [case[dose] for case in alike] + elsewhere
        if len(ratios) < 2:
            return False
        surely = ttest_1samp(ratios, 1, alternative="less").pvalue < SIGNIFICANT
        return surely and np.mean(ratios) <= 1 - WORTHWHILE and np.mean(elsewhere or [0.0]) < 1

    shared = (dose for dose in alike[0] if combine[f"{dose:g}"]["anchored"])
    return combine | {f"{dose:g}": {"anchored": 0.0} for dose in shared if not helps(dose)}


def _nmae(estimate: np.ndarray, real: np.ndarray) -> float:
    return float(np.abs(estimate - real).sum() / np.abs(real).sum())


def fit_uncertainty(measured: list[Measured], weights: dict[str, float], coverage: float = COVERAGE) -> float:
    """The factor that makes +- 1.645 scaled spreads hold `coverage` of the body voxels of the validation cases."""
    ratios = []
    for m in measured:
        full = np.array(list(weights.values()), np.float32) @ m.estimates
        ratios.append(np.abs(full - m.real[1.0]) / np.maximum(m.spread, 1e-6))
    return float(np.quantile(np.concatenate(ratios), coverage) / 1.645)


def widest_noise(cases: list[Path], dose: float) -> dict:
    """The widest noise of any of these cases at this dose, as a fit of bundle.json keeps it: noise_voxels, [axial, in
    plane] in voxels of its own scan (working_grid.py; of the two axes in plane the narrower counts), and wide_noise,
    its volume with a power of 0, which is decided later (other_scanners.py). {} where it cannot be measured in any."""
    found, volumes = [], []
    for case in cases:
        scan = read_dose(case, dose)
        widths = noise_widths(scan.voxels, scan.body, scan.spacing_mm)
        if widths is not None and not np.isnan(widths).any():
            axial, *plane = np.array(widths) / scan.spacing_mm[::-1]
            found.append((axial, min(plane)))
            volumes.append(noise_volume_mm3(widths))
    if not found:
        return {}
    widest = [round(float(width), 3) for width in np.max(found, axis=0)]
    return {"noise_voxels": widest, "wide_noise": {"mm3": round(max(volumes), 1), "power": 0.0}}
