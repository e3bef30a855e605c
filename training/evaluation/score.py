"""One method on one case from one input dose: every figure of the table, as plain numbers."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from MAPDiffLib.restoration.doses import at_dose
from MAPDiffLib.scan.volume import Volume
from training.evaluation.case import TestCase
from training.evaluation.cost import Cost
from training.evaluation.method import Method, Result
from training.scores.contrast import recovered
from training.scores.doses import coverage, dose_scores, with_mixes
from training.scores.free_response import free_response
from training.scores.hotspots import false_hot_spots
from training.scores.image import image_scores
from training.scores.quantification import Reading, bias, contrast_to_noise
from training.udpet.challenge_score import challenge_score

# Rows of the table that no method made: hot spots and contrast of the reference itself; the scan's own counts and, for
# the rest, what all others would show without noise. What error that has is the reference's own noise.
REAL, NOISE_FREE = "real full-dose scan", "noise-free image"


def score_method(method: Method, case: TestCase, input_dose: float) -> dict:
    """Run a method and score it: image, doses, challenge, organs and lesions, false hot spots, coverage, cost."""
    scan = case.scan(input_dose)
    with Cost() as cost:
        result = method(scan, input_dose)
    record = score_result(result, case, input_dose, scan.voxels)
    peak_gb = cost.peak_gb if result.peak_gb is None else result.peak_gb
    return record | {"seconds": cost.seconds, "peak_gb": peak_gb, "evaluations": result.evaluations}


def score_noise_free(case: TestCase, input_dose: float) -> dict:
    """As `score_method`, of the image that no method can know."""

    def known(scan: Volume, dose: float) -> Result:
        return Result(with_mixes(scan.voxels, dose, at_dose(scan.voxels, case.noise_free, dose, 1.0)))

    return score_method(known, case, input_dose)


def score_result(result: Result, case: TestCase, input_dose: float, scan: np.ndarray) -> dict:
    """The figures of what a method gave, but for its cost."""
    full, real, body = result.images[1.0], case.full.voxels, case.body
    covered = result.uncertainty is not None
    return {
        "image": image_scores(full, real, body),
        "doses": dose_scores(result.images, scan, input_dose, case.real(above=input_dose), body),
        "coverage": coverage(full, result.uncertainty, real, body) if covered else None,
        "challenge": challenge_figures(full, case),
        **score_regions(full, case, scan),
    }


def challenge_figures(image: np.ndarray, case: TestCase) -> dict[str, float]:
    """The UDPET challenge's score of a full dose, of each of its groups, and every part's error, by name."""
    voxel_ml = float(np.prod(case.full.spacing_mm)) / 1000
    score = challenge_score(image, case.full.voxels, *case.challenge_regions, voxel_ml)
    parts = {f"{group} {part}": error for group, errors in score.errors.items() for part, error in errors.items()}
    raw = {"nrmse": score.nrmse, "psnr_db": score.psnr_db, "ssim": score.ssim}
    return {"score": score.value, **score.groups, **raw, **parts}


def score_regions(image: np.ndarray, case: TestCase, scan: np.ndarray | None = None) -> dict:
    """Organs, lesions, false hot spots and candidates of an image of full dose (the real one gives the last row).

    scan: what it was made from, for how far each lesion stood out of that one's noise.
    """
    reading, spacing, real = Reading(image, case.full.spacing_mm), case.full.spacing_mm, case.full.voxels
    noise_known = scan is not None and case.noise_free is not None
    organs = [
        {"organ": name, **bias(reading.organ(mask), case.real_organs[name])} for name, mask in case.organs.items()
    ]
    lesions = [
        {
            "lesion": number,
            "diameter_mm": lesion.diameter_mm,
            "suv": lesion.suv,
            "host": lesion.host,
            **bias(reading.lesion(lesion.mask), case.real_lesions[number]),
            "contrast_to_noise": contrast_to_noise(image, lesion.mask, case.tissue, lesion.host_label, spacing),
            "recovered": recovered(case.sites[number], image, real),
            "snr": case.sites[number].signal_to_noise(scan, case.noise_free) if noise_known else None,
        }
        for number, lesion in enumerate(case.lesions)
    ]
    candidates = None
    if case.noise_free is not None:
        masks = [lesion.mask for lesion in case.lesions]
        candidates = asdict(free_response(image, case.noise_free, masks, case.body, spacing))
    spots = None if case.truth is None else false_hot_spots(image, case.truth, case.body, spacing)
    liver = image[case.organs["liver"]] if "liver" in case.organs else None
    noise = None if liver is None else float(liver.std(dtype=float) / liver.mean(dtype=float))
    return {
        "organs": organs, "lesions": lesions, "false_hot_spots": spots, "liver_noise": noise,
        "free_response": candidates,
    }  # fmt: skip
