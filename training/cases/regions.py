"""Where organs and lesions are in a case: the phantom's own labels, or masks that lie beside a real subject's doses.

Real subjects may carry organs.nii.gz, in the UDPET challenge's numbers (1 liver, 2 heart, 3 right kidney, 4 left
kidney), and lesions.nii.gz (anything above 0), both on the grid of the doses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from MAPDiffLib.errors import InputError
from MAPDiffLib.scan.masks import read_label_image
from training.cases.case_file import CASE_FILE, read_facts
from training.simulate.tissues import Tissue

ORGANS_FILE, LESIONS_FILE, PHANTOM_FILE = "organs.nii.gz", "lesions.nii.gz", "labels.nii.gz"
ORGANS = {1: "liver", 2: "heart", 3: "right kidney", 4: "left kidney"}  # the challenge's
TISSUES = (
    Tissue.LIVER, Tissue.SPLEEN, Tissue.BLOOD, Tissue.KIDNEY_CORTEX, Tissue.LUNG, Tissue.MUSCLE, Tissue.MARROW,
    Tissue.GREY_MATTER, Tissue.BLADDER,
)  # fmt: skip
ORGAN_VOXELS = 50  # fewer say nothing of an organ

Regions = dict[str, np.ndarray]


@dataclass(frozen=True)
class Lesion:
    """A mask bool [z, y, x] and its diameter; of the phantom's lesions the true SUV and the host tissue too."""

    mask: np.ndarray
    diameter_mm: float
    suv: float | None = None
    host: str = ""

    @property
    def host_label(self) -> int | None:
        """The host's label in a case of tissues; None where it is none of them."""
        return Tissue[self.host.upper()] if self.host.upper() in Tissue.__members__ else None


def organ_regions(case: Path, shape: tuple[int, ...]) -> Regions:
    """{organ: bool [z, y, x]}; empty when the case has no labels. InputError when they are not on the scan's grid."""
    labels = _read(case / ORGANS_FILE, shape)
    if labels is not None:
        regions = {name: labels == number for number, name in ORGANS.items()}
    else:
        labels = phantom_labels(case, shape)
        regions = {} if labels is None else _phantom_organs(labels)
    return {name: region for name, region in regions.items() if np.count_nonzero(region) >= ORGAN_VOXELS}


def lesion_regions(case: Path, shape: tuple[int, ...], spacing_mm: Sequence[float]) -> list[Lesion]:
    """The lesions that have voxels of their own; empty when there is none, or no labels.

    Told apart by the centres in case.json where a phantom's are known, else as connected parts. InputError as above.
    """
    marked = _read(case / LESIONS_FILE, shape)
    if marked is None:
        labels = phantom_labels(case, shape)
        if labels is None:
            return []
        painted = read_facts(case).get("lesions", []) if (case / CASE_FILE).exists() else []
        if painted:
            masks = lesion_masks(labels, painted, spacing_mm)
            return [
                Lesion(mask, lesion["diameter_mm"], lesion["suv"], lesion["host"])
                for mask, lesion in zip(masks, painted, strict=True)
                if mask is not None
            ]
        marked = labels == Tissue.LESION
    parts, count = ndimage.label(marked > 0, np.ones((3, 3, 3)))
    masks = [parts == number for number in range(1, count + 1)]
    return [Lesion(mask, _diameter_mm(mask, spacing_mm)) for mask in masks]


def phantom_labels(case: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """Tissue labels uint8 [z, y, x]; None where none are painted. InputError when they are not on the scan's grid."""
    labels = _read(case / PHANTOM_FILE, shape)
    return None if labels is None or not labels.any() else np.rint(labels).astype(np.uint8)


def lesion_masks(labels: np.ndarray, lesions: Sequence[dict], spacing_mm: Sequence[float]) -> list[np.ndarray | None]:
    """One mask per lesion of case.json; None for one that has no voxel of its own.

    Every lesion voxel belongs to the lesion whose centre is nearest, measured in that lesion's radii.
    """
    voxels = np.argwhere(labels == Tissue.LESION)
    if not len(lesions) or not len(voxels):
        return [None] * len(lesions)
    spacing = np.array(spacing_mm[::-1])
    away = np.stack([
        np.linalg.norm((voxels - np.array(lesion["centre"])) * spacing, axis=1) / (0.5 * lesion["diameter_mm"])
        for lesion in lesions
    ])  # fmt: skip
    owner = away.argmin(axis=0)
    masks = []
    for number in range(len(lesions)):
        mine = voxels[owner == number]
        mask = np.zeros(labels.shape, bool)
        mask[tuple(mine.T)] = True
        masks.append(mask if len(mine) else None)
    return masks


def _phantom_organs(labels: np.ndarray) -> Regions:
    kidneys = np.isin(labels, (Tissue.KIDNEY_CORTEX, Tissue.KIDNEY_MEDULLA, Tissue.KIDNEY_PELVIS))
    columns = np.flatnonzero((labels != Tissue.AIR).any(axis=(0, 1)))
    to_the_left = np.arange(labels.shape[2]) > (columns.mean() if columns.size else 0)  # x runs to the patient's left
    return {
        **{tissue.name.lower(): labels == tissue for tissue in TISSUES},
        "heart": labels == Tissue.MYOCARDIUM,
        "right kidney": kidneys & ~to_the_left,
        "left kidney": kidneys & to_the_left,
    }


def _diameter_mm(mask: np.ndarray, spacing_mm: Sequence[float]) -> float:
    """Of the sphere of the same volume."""
    return float((6 / np.pi * np.count_nonzero(mask) * np.prod(spacing_mm)) ** (1 / 3))


def _read(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    if not path.is_file():
        return None
    labels = sitk.GetArrayFromImage(read_label_image(path))
    if labels.shape != tuple(shape):
        raise InputError(f"{path} has the shape {labels.shape}; that of the scan, {tuple(shape)}, is needed.")
    return labels
