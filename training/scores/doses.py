"""Intermediate doses: each restored dose against its own real scan, among all, beside inverse-dose interpolation."""

from __future__ import annotations

import numpy as np

from MAPDiffLib.report.metrics import nmae, psnr
from MAPDiffLib.restoration.doses import ANCHOR_DOSES, mix
from training.scores.image import PEAK_SUV


def with_mixes(scan: np.ndarray, dose: float, full: np.ndarray) -> dict[float, np.ndarray]:
    """A full-dose image, and for every anchor dose between the inverse-dose interpolation (doses.mix) with the scan."""
    return {d: mix(scan, full, dose, d) for d in ANCHOR_DOSES if d > dose}


def dose_scores(
    images: dict[float, np.ndarray], scan: np.ndarray, dose: float, real: dict[float, np.ndarray], body: np.ndarray
) -> list[dict]:
    """One row per restored dose that was really measured: NMAE and PSNR, the same for the inverse-dose interpolation of
    the scan with the method's own full dose, whether it is the nearest (NMAE) of the method's doses to that real dose,
    and which of the real doses it is nearest to itself, which is another question (docs/benchmark.md)."""
    mixes = with_mixes(scan, dose, images[1.0])
    rows = []
    for restored, image in sorted(images.items()):
        if restored not in real:
            continue
        errors = {other: nmae(image, reference, body) for other, reference in real.items()}
        nearest = min(errors, key=errors.get)
        others = [nmae(images[other], real[restored], body) for other in images if other != restored]
        rows.append(
            {
                "dose": restored,
                "nmae": errors[restored],
                "psnr": psnr(image, real[restored], body, PEAK_SUV),
                "interpolated_nmae": nmae(mixes[restored], real[restored], body),
                "interpolated_psnr": psnr(mixes[restored], real[restored], body, PEAK_SUV),
                "nearest_of_restored": errors[restored] < min(others, default=np.inf),
                "nearest_dose": nearest,
                "nearest_is_own": nearest == restored,
            }
        )
    return rows


def coverage(image: np.ndarray, deviation: np.ndarray, real: np.ndarray, body: np.ndarray) -> float:
    """The share of the body's voxels whose real value lies in the 90 % interval, image +- 1.645 standard deviations."""
    return float((np.abs(image - real)[body] <= 1.645 * deviation[body]).mean())
