"""Where organs and lesions are in a case: the phantom's own labels, or masks that lie beside a real subject's doses.

Real subjects may carry organs.nii.gz, in the UDPET challenge's numbers (1 liver, 2 heart, 3 right kidney, 4 left
kidney), and lesions.nii.gz (anything above 0), both on the grid of the doses.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from MAPDiffLib.errors import InputError
from training.simulate.tissues import Tissue

ORGANS_FILE, LESIONS_FILE, PHANTOM_FILE = "organs.nii.gz", "lesions.nii.gz", "labels.nii.gz"
ORGANS = {1: "liver", 2: "heart", 3: "right kidney", 4: "left kidney"}
LEAST_VOXELS = 8  # fewer have no texture to speak of

Regions = dict[str, np.ndarray]


def organ_regions(case: Path, shape: tuple[int, ...]) -> Regions:
    """{organ: bool [z, y, x]}; empty when the case has no labels. InputError when they are not on the scan's grid."""
    labels = _labels(case / ORGANS_FILE, shape)
    if labels is not None:
        return _large_enough({name: labels == number for number, name in ORGANS.items()})
    labels = _labels(case / PHANTOM_FILE, shape)
    return {} if labels is None else _large_enough(_phantom_organs(labels))


def lesion_regions(case: Path, shape: tuple[int, ...]) -> Regions:
    """{"lesion 1": bool [z, y, x], ...}, one per connected lesion; empty when there is none, or no labels."""
    labels = _labels(case / LESIONS_FILE, shape)
    if labels is None:
        phantom = _labels(case / PHANTOM_FILE, shape)
        if phantom is None:
            return {}
        labels = phantom == Tissue.LESION
    parts, count = ndimage.label(labels > 0, np.ones((3, 3, 3)))
    return _large_enough({f"lesion {number}": parts == number for number in range(1, count + 1)})


def _phantom_organs(labels: np.ndarray) -> Regions:
    kidneys = np.isin(labels, (Tissue.KIDNEY_CORTEX, Tissue.KIDNEY_MEDULLA, Tissue.KIDNEY_PELVIS))
    columns = np.flatnonzero((labels != Tissue.AIR).any(axis=(0, 1)))
    to_the_left = np.arange(labels.shape[2]) > (columns.mean() if columns.size else 0)  # x runs to the patient's left
    return {
        "liver": labels == Tissue.LIVER,
        "heart": labels == Tissue.MYOCARDIUM,
        "right kidney": kidneys & ~to_the_left,
        "left kidney": kidneys & to_the_left,
    }


def _large_enough(regions: Regions) -> Regions:
    return {name: region for name, region in regions.items() if np.count_nonzero(region) >= LEAST_VOXELS}


def _labels(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    if not path.is_file():
        return None
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    if labels.shape != tuple(shape):
        raise InputError(f"{path} has the shape {labels.shape}; that of the scan, {tuple(shape)}, is needed.")
    return labels
