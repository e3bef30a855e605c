"""What validation cases decide after training: the weights of the estimates per dose, and the uncertainty's scale."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import minimize

from MAPDiffLib.bodybox import BodyBox
from MAPDiffLib.device import Compute
from MAPDiffLib.diffusion import Diffusion
from MAPDiffLib.doses import ANCHOR_DOSES, mix
from MAPDiffLib.guard import guard_activity
from MAPDiffLib.intensity import Intensity
from MAPDiffLib.network import DenoisingUNet
from MAPDiffLib.sampling import evaluate_path
from MAPDiffLib.tiles import TiledNetwork
from MAPDiffLib.volume import body_mask
from training.datasets import read_dose

VOXELS = 40_000  # drawn per case: the fit has a handful of unknowns


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
    """Weights per dose, minimising the mean NMAE against the real dose: bundle.json's sampling.combine.

    estimate: convex weights over the evaluations up to the anchor's own; anchored: how much of the result is the
    anchored estimate rather than the closed-form mix.
    """
    combine = {}
    for k, t in enumerate(timesteps):
        if t not in anchors:
            continue
        dose = anchors[t]

        def error(unknowns, k=k, dose=dose) -> float:
            weights, share = _unpack(unknowns, dose)
            errors = [_nmae(_combined(m, weights, share, input_dose, dose, k), m.real[dose]) for m in measured]
            return float(np.mean(errors))

        starts = [np.zeros(k + 2), np.r_[3.0, np.zeros(k + 1)], np.r_[np.zeros(k + 1), -3.0]]
        best = min((minimize(error, s, method="Powell", options={"xtol": 1e-2, "ftol": 1e-5}) for s in starts),
                   key=lambda result: result.fun)  # fmt: skip
        weights, share = _unpack(best.x, dose)
        names = map(str, timesteps[: k + 1])
        combine[f"{dose:g}"] = {
            "estimate": dict(zip(names, (round(float(w), 4) for w in weights), strict=True)),
            "anchored": round(share, 4),
        }
    return combine


def _unpack(unknowns: np.ndarray, dose: float) -> tuple[np.ndarray, float]:
    """Free numbers -> convex weights (softmax) and a share in [0, 1]; no share at full dose, where the mix is the
    estimate itself."""
    exponent = np.exp(unknowns[:-1] - unknowns[:-1].max())
    share = 0.0 if dose == 1.0 else float(1 / (1 + np.exp(-np.clip(unknowns[-1], -30, 30))))
    return exponent / exponent.sum(), share


def _combined(m: Measured, weights: np.ndarray, share: float, input_dose: float, dose: float, k: int) -> np.ndarray:
    full = weights.astype(np.float32) @ m.estimates[: k + 1]
    return share * m.estimates[k] + (1 - share) * mix(m.scan, full, input_dose, dose)


def _nmae(estimate: np.ndarray, real: np.ndarray) -> float:
    return float(np.abs(estimate - real).sum() / np.abs(real).sum())


def fit_uncertainty(measured: list[Measured], weights: dict[str, float], coverage: float = 0.9) -> float:
    """The factor that makes +- 1.645 scaled spreads hold `coverage` of the body voxels of the validation cases."""
    ratios = []
    for m in measured:
        full = np.array(list(weights.values()), np.float32) @ m.estimates
        ratios.append(np.abs(full - m.real[1.0]) / np.maximum(m.spread, 1e-6))
    return float(np.quantile(np.concatenate(ratios), coverage) / 1.645)
