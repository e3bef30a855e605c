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
    LESION = 40


# tissue: (SUV, spread of ln SUV between cases, broad texture, fine texture, attenuation 1/mm)
# The fine texture of flesh is stronger than its metabolism varies: it stands for the vessels, septa and fibres that are
# too small to paint, and is what the noise metric of real full-dose scans asks for (training/simulate/validate.py).
PROPERTIES = {
    Tissue.AIR: (0.0, 0.0, 0.0, 0.0, 0.0),
    Tissue.SKIN: (0.75, 0.20, 0.15, 0.78, 0.0098),
    Tissue.FAT: (0.30, 0.20, 0.15, 0.69, 0.0089),
    Tissue.MUSCLE: (0.68, 0.08, 0.10, 0.50, 0.0098),
    Tissue.MESENTERY: (0.45, 0.15, 0.20, 0.82, 0.0091),
    Tissue.LUNG: (0.42, 0.12, 0.15, 0.45, 0.0029),
    Tissue.CORTICAL_BONE: (0.50, 0.20, 0.15, 0.50, 0.0150),
    Tissue.MARROW: (1.2, 0.25, 0.12, 0.47, 0.0112),
    Tissue.GREY_MATTER: (7.5, 0.22, 0.08, 0.16, 0.0099),
    Tissue.WHITE_MATTER: (2.8, 0.18, 0.06, 0.12, 0.0099),
    Tissue.FLUID: (0.5, 0.20, 0.05, 0.05, 0.0097),
    Tissue.BLOOD: (1.6, 0.15, 0.02, 0.03, 0.0099),
    Tissue.MYOCARDIUM: (3.0, 0.65, 0.15, 0.16, 0.0099),
    Tissue.LIVER: (2.3, 0.10, 0.02, 0.06, 0.0100),
    Tissue.SPLEEN: (1.85, 0.14, 0.03, 0.08, 0.0099),
    Tissue.KIDNEY_CORTEX: (2.8, 0.20, 0.10, 0.19, 0.0099),
    Tissue.KIDNEY_MEDULLA: (3.8, 0.30, 0.15, 0.24, 0.0099),
    Tissue.KIDNEY_PELVIS: (10.0, 0.60, 0.25, 0.10, 0.0097),
    Tissue.STOMACH_WALL: (2.0, 0.25, 0.20, 0.40, 0.0097),
    Tissue.BOWEL_WALL: (1.7, 0.30, 0.50, 0.56, 0.0097),
    Tissue.BOWEL_LUMEN: (0.8, 0.30, 0.40, 0.50, 0.0085),
    Tissue.BLADDER: (14.0, 0.60, 0.02, 0.02, 0.0097),
    Tissue.GLAND: (2.0, 0.30, 0.20, 0.37, 0.0098),
    Tissue.AIRWAY: (0.08, 0.10, 0.0, 0.0, 0.0001),
    Tissue.DEEP_GREY: (8.0, 0.20, 0.05, 0.10, 0.0099),
    Tissue.FASCIA: (0.28, 0.15, 0.10, 0.44, 0.0090),
    Tissue.SOFT_TISSUE: (0.85, 0.12, 0.15, 0.58, 0.0097),
    Tissue.AIRWAY_WALL: (1.0, 0.20, 0.10, 0.30, 0.0097),
    Tissue.VESSEL_WALL: (1.4, 0.15, 0.05, 0.10, 0.0097),
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
