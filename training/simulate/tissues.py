"""Tissue labels with their FDG uptake, its variation, and their attenuation at 511 keV."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Tissue(IntEnum):
    """Labels of the phantom; 0 is air outside the body."""

    AIR = 0
    SKIN = 1
    FAT = 2
    MUSCLE = 3
    MESENTERY = 4
    LUNG = 5
    CORTICAL_BONE = 6
    MARROW = 7
    GREY_MATTER = 8
    WHITE_MATTER = 9
    FLUID = 10
    BLOOD = 11
    MYOCARDIUM = 12
    LIVER = 13
    SPLEEN = 14
    KIDNEY_CORTEX = 15
    KIDNEY_PELVIS = 16
    STOMACH_WALL = 17
    BOWEL_WALL = 18
    BOWEL_LUMEN = 19
    BLADDER = 20
    GLAND = 21
    AIRWAY = 22
    DEEP_GREY = 23
    FASCIA = 24
    SOFT_TISSUE = 25
    KIDNEY_MEDULLA = 26
    AIRWAY_WALL = 27
    VESSEL_WALL = 28
    VESSEL = 29
    SEPTUM = 30
    RED_MUSCLE = 31
    YELLOW_MARROW = 32
    LESION = 40


# tissue: (SUV, spread of ln SUV between cases, broad texture, fine texture, attenuation 1/mm)
# The fine structure of real bodies is painted (flesh.py); texture is how metabolism varies within a tissue, not more.
PROPERTIES = {
    Tissue.AIR: (0.0, 0.0, 0.0, 0.0, 0.0),
    Tissue.SKIN: (1.05, 0.20, 0.12, 0.12, 0.0098),
    Tissue.FAT: (0.19, 0.15, 0.10, 0.10, 0.0089),
    Tissue.MUSCLE: (0.66, 0.08, 0.08, 0.08, 0.0098),
    Tissue.MESENTERY: (0.28, 0.15, 0.12, 0.12, 0.0091),
    Tissue.LUNG: (0.4, 0.12, 0.12, 0.10, 0.0029),
    Tissue.CORTICAL_BONE: (0.50, 0.20, 0.10, 0.10, 0.0150),
    Tissue.MARROW: (1.55, 0.20, 0.10, 0.12, 0.0112),
    Tissue.GREY_MATTER: (6.8, 0.20, 0.08, 0.08, 0.0099),
    Tissue.WHITE_MATTER: (2.4, 0.18, 0.06, 0.06, 0.0099),
    Tissue.FLUID: (0.5, 0.20, 0.05, 0.05, 0.0097),
    Tissue.BLOOD: (1.67, 0.12, 0.02, 0.03, 0.0099),
    Tissue.MYOCARDIUM: (3.0, 0.65, 0.15, 0.10, 0.0099),
    Tissue.LIVER: (2.2, 0.10, 0.02, 0.05, 0.0100),
    Tissue.SPLEEN: (1.85, 0.14, 0.03, 0.08, 0.0099),
    Tissue.KIDNEY_CORTEX: (2.8, 0.20, 0.10, 0.10, 0.0099),
    Tissue.KIDNEY_MEDULLA: (3.8, 0.30, 0.15, 0.12, 0.0099),
    Tissue.KIDNEY_PELVIS: (10.0, 0.60, 0.25, 0.10, 0.0097),
    Tissue.STOMACH_WALL: (2.2, 0.25, 0.20, 0.12, 0.0097),
    Tissue.BOWEL_WALL: (2.5, 0.30, 0.30, 0.15, 0.0097),
    Tissue.BOWEL_LUMEN: (0.5, 0.30, 0.20, 0.10, 0.0085),
    Tissue.BLADDER: (14.0, 0.60, 0.02, 0.02, 0.0097),
    Tissue.GLAND: (2.0, 0.30, 0.15, 0.12, 0.0098),
    Tissue.AIRWAY: (0.08, 0.10, 0.0, 0.0, 0.0001),
    Tissue.DEEP_GREY: (8.0, 0.20, 0.05, 0.10, 0.0099),
    Tissue.FASCIA: (0.17, 0.15, 0.10, 0.10, 0.0090),
    Tissue.SOFT_TISSUE: (0.85, 0.12, 0.12, 0.12, 0.0097),
    Tissue.AIRWAY_WALL: (1.0, 0.20, 0.10, 0.10, 0.0097),
    Tissue.VESSEL_WALL: (1.4, 0.15, 0.05, 0.10, 0.0097),
    Tissue.VESSEL: (1.95, 0.12, 0.05, 0.05, 0.0097),
    Tissue.SEPTUM: (0.75, 0.15, 0.10, 0.10, 0.0094),
    Tissue.RED_MUSCLE: (0.98, 0.08, 0.08, 0.08, 0.0098),
    Tissue.YELLOW_MARROW: (0.55, 0.20, 0.10, 0.10, 0.0105),
    Tissue.LESION: (0.0, 0.0, 0.10, 0.15, 0.0099),
}


def uptake_tables(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Look-up tables float32 [256] by label for one case: "suv", "broad", "fine" (texture of ln SUV), "mu" (1/mm)."""
    tables = {name: np.zeros(256, np.float32) for name in ("suv", "broad", "fine", "mu")}
    for tissue, (suv, spread, broad, fine, mu) in PROPERTIES.items():
        tables["suv"][tissue] = suv * np.exp(spread * np.clip(rng.standard_normal(), -2, 2))
        tables["broad"][tissue], tables["fine"][tissue], tables["mu"][tissue] = broad, fine, mu
    tables["suv"][Tissue.BLADDER] = np.clip(tables["suv"][Tissue.BLADDER], 5, 40)
    return tables
