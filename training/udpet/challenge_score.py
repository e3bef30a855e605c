"""The score of the UDPET challenge 2025: whole image, organs and lesions, with the challenge's weights.

The weights are published; how dB, similarities and percentages come to one scale is not. Here every part is an error in
per cent of the full-dose scan, from 0 to 100, and a score is 100 less the weighted mean of the errors: 100 is the
full-dose scan itself. PSNR counts as the error it stands for, RMSE in per cent of the peak. NRMSE, PSNR and SSIM are as
in the challenge's public evaluation code: over the whole volume, NRMSE by the range and PSNR by the maximum of the
full-dose scan, SSIM of both images scaled to their own maximum.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from MAPDiffLib.errors import InputError
from training.cases.regions import Regions
from training.scores.quantification import mean_and_max
from training.udpet.radiomics import FEATURES, radiomics

GROUP_WEIGHTS = {"global": 0.30, "organs": 0.35, "lesions": 0.35}
GLOBAL_WEIGHTS = {"NRMSE": 0.30, "PSNR": 0.30, "SSIM": 0.40}
REGION_WEIGHTS = {
    "SUVmax": 0.25, "SUVmean": 0.20, "TotalLesionMetabolism": 0.15, "PSNR": 0.10, **dict.fromkeys(FEATURES, 0.05),
}  # fmt: skip
DRF_WEIGHTS = {4: 0.05, 10: 0.15, 20: 0.20, 50: 0.25, 100: 0.35}
SSIM_WINDOW = 7  # scikit-image's own


@dataclass(frozen=True)
class Score:
    """One restored scan: `value` from 0 to 100, the errors of each part in per cent, and the raw global figures.

    `groups` are those that could be judged: without labels there are no organs, without lesions no lesions; the
    weights of the others then share theirs.
    """

    value: float
    groups: dict[str, float]
    errors: dict[str, dict[str, float]]
    nrmse: float
    psnr_db: float
    ssim: float


def challenge_score(image: np.ndarray, full: np.ndarray, organs: Regions, lesions: Regions, voxel_ml: float) -> Score:
    """The score of an image against the full-dose scan, both SUV [z, y, x]; InputError for unlike or empty arrays."""
    raw = global_figures(image, full)
    errors = {"global": global_errors(*raw)}
    for group, regions in (("organs", organs), ("lesions", lesions)):
        if regions:
            each = [region_errors(image, full, region, voxel_ml) for region in regions.values()]
            errors[group] = {part: float(np.mean([found[part] for found in each])) for part in REGION_WEIGHTS}
    groups = {
        group: 100 - weighted(found, GLOBAL_WEIGHTS if group == "global" else REGION_WEIGHTS)
        for group, found in errors.items()
    }
    return Score(weighted(groups, GROUP_WEIGHTS), groups, errors, *raw)


def weighted(values: Mapping, weights: Mapping) -> float:
    """The mean of the values that are there, by their weights."""
    total = sum(weights[name] for name in values)
    return sum(weights[name] * value for name, value in values.items()) / total


def global_figures(image: np.ndarray, full: np.ndarray) -> tuple[float, float, float]:
    """NRMSE, PSNR in dB and SSIM over the whole volume [z, y, x]."""
    from skimage.metrics import structural_similarity

    _check(image, full)
    rmse, peak = _rmse(image, full), float(full.max())
    psnr_db = math.inf if rmse == 0 else 20 * math.log10(peak / rmse)
    scaled = [np.asarray(volume, np.float32) / max(float(volume.max()), 1e-12) for volume in (full, image)]
    ssim = float(structural_similarity(*scaled, data_range=1.0, win_size=SSIM_WINDOW))
    return rmse / (peak - float(full.min())), psnr_db, ssim


def global_errors(nrmse: float, psnr_db: float, ssim: float) -> dict[str, float]:
    """The three figures as errors in per cent, at most 100."""
    errors = {"NRMSE": nrmse, "PSNR": 10 ** (-psnr_db / 20), "SSIM": 1 - ssim}
    return {part: _per_cent(error) for part, error in errors.items()}


def region_errors(image: np.ndarray, full: np.ndarray, region: np.ndarray, voxel_ml: float) -> dict[str, float]:
    """The parts of one organ or lesion as errors in per cent of the full-dose value, at most 100."""
    found, wanted = region_figures(image, region, voxel_ml), region_figures(full, region, voxel_ml)
    errors = {part: _relative(found[part], wanted[part]) for part in wanted}
    errors["PSNR"] = _rmse(image[region], full[region]) / wanted["SUVmax"] if wanted["SUVmax"] > 0 else 1.0
    return {part: _per_cent(errors[part]) for part in REGION_WEIGHTS}


def region_figures(image: np.ndarray, region: np.ndarray, voxel_ml: float) -> dict[str, float]:
    """SUVmax, SUVmean, total lesion metabolism (SUVmean x ml of the whole mask) and the six radiomics features."""
    levels = mean_and_max(image, region)
    return {
        "SUVmax": levels["max"],
        "SUVmean": levels["mean"],
        "TotalLesionMetabolism": levels["mean"] * np.count_nonzero(region) * voxel_ml,
        **radiomics(image, region),
    }


def drf_score(scores: Mapping[int, float]) -> float:
    """The score over dose reduction factors {4: ..., 100: ...}, by the challenge's weights. InputError if one lacks."""
    if set(scores) != set(DRF_WEIGHTS):
        raise InputError(f"scores of DRF {sorted(scores)} are given; the challenge's are {sorted(DRF_WEIGHTS)}.")
    return weighted(scores, DRF_WEIGHTS)


def _relative(found: float, wanted: float) -> float:
    if math.isnan(wanted):
        return 0.0 if math.isnan(found) else 1.0  # the region is too small for this feature in the full-dose scan too
    if wanted == 0:
        return 0.0 if found == 0 else 1.0
    return abs(found - wanted) / abs(wanted)


def _per_cent(error: float) -> float:
    return 100 * min(1.0, max(0.0, error))


def _rmse(image: np.ndarray, full: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(image - full, dtype=np.float64))))


def _check(image: np.ndarray, full: np.ndarray) -> None:
    if image.shape != full.shape:
        raise InputError(f"the shapes differ: image {image.shape}, full dose {full.shape}. Compare on one grid.")
    if min(full.shape) < SSIM_WINDOW:
        raise InputError(f"SSIM needs at least {SSIM_WINDOW} voxels along each axis, not {full.shape}.")
    if not full.max() > full.min():
        raise InputError("the full-dose scan is constant: nothing can be compared with it.")
