"""Head and neck of the phantom. Body coordinates: x left, y back, s down from the vertex, in mm."""

from __future__ import annotations

import numpy as np

from training.simulate.shapes import Canvas, Grid, curve, smooth_field
from training.simulate.tissues import Tissue

BRAIN_CENTRE, BRAIN_RADII = (0.0, -2.0, 68.0), (62.0, 80.0, 56.0)


def paint_head(canvas: Canvas, rng: np.random.Generator) -> None:
    """Skull, brain, face, glands of the head and neck, airway."""
    _paint_face(canvas, rng)
    for grow, tissue in (
        (8.0, Tissue.CORTICAL_BONE),
        (5.6, Tissue.MARROW),
        (4.4, Tissue.CORTICAL_BONE),
        (2.2, Tissue.FLUID),
    ):
        canvas.ellipsoid(tissue, BRAIN_CENTRE, np.add(BRAIN_RADII, grow), power=2.2)
    _paint_brain(canvas, rng)
    _paint_neck(canvas, rng)


def _paint_brain(canvas: Canvas, rng: np.random.Generator) -> None:
    """Cortex folded along the level sets of a random field, white matter, deep nuclei, ventricles, cerebellum."""
    box = canvas.box_around(BRAIN_CENTRE, np.add(BRAIN_RADII, 4))
    if box is None:
        return
    x, y, s = (c - np.float32(m) for c, m in zip(canvas.coordinates(box), BRAIN_CENTRE, strict=True))
    q = sum(np.abs(c / np.float32(r)) ** np.float32(2.2) for c, r in zip((x, y, s), BRAIN_RADII, strict=True))
    depth = (1 - q ** np.float32(1 / 2.2)) * np.float32(62)
    local = Grid(tuple(int(n) for n in depth.shape), canvas.grid.spacing_mm)
    fold = np.abs(smooth_field(rng, local, 10.0))
    brain = depth > 0
    canvas.paint(box, brain, Tissue.WHITE_MATTER)
    ribbon = (depth < 4.5) | ((depth < 24) & (fold < 0.46))
    canvas.paint(box, brain & ribbon, Tissue.GREY_MATTER)
    sulcus = (depth < 20) & (fold < 0.09)
    cleft = (np.abs(x) < 1.8) & (depth < 28) & (s < 10)
    canvas.paint(box, brain & (sulcus | cleft), Tissue.FLUID)
    cerebellum = (x / 48) ** 2 + ((y - 48) / 28) ** 2 + ((s - 44) / 22) ** 2 < 1
    leaves = np.sin(s * np.float32(2 * np.pi / 9) + 2 * fold) > 0.55
    canvas.paint(box, cerebellum, Tissue.GREY_MATTER)
    canvas.paint(box, cerebellum & leaves, Tissue.WHITE_MATTER)
    for side in (-1, 1):
        for centre, radii in (((13, 4, 68), (9, 14, 9)), ((15, -26, 66), (6, 10, 12)), ((24, -16, 70), (5, 13, 10))):
            canvas.ellipsoid(Tissue.DEEP_GREY, np.multiply(centre, (side, 1, 1)), radii)
        canvas.tube(Tissue.FLUID, curve([(side * 8, -40, 62), (side * 7, 0, 52), (side * 18, 35, 62)], 6), 4.5)
    canvas.tube(Tissue.WHITE_MATTER, [(0, 12, 84), (0, 18, 150)], (12, 8))


def _paint_face(canvas: Canvas, rng: np.random.Generator) -> None:
    hot = rng.random() < 0.4
    for side in (-1, 1):
        canvas.ellipsoid(Tissue.CORTICAL_BONE, (side * 31, -72, 104), (19, 20, 18))
        canvas.ellipsoid(Tissue.FAT, (side * 31, -74, 104), (17, 20, 16))
        canvas.ellipsoid(Tissue.FLUID, (side * 31, -83, 104), (11, 11, 11))
        canvas.ellipsoid(Tissue.AIRWAY, (side * 28, -62, 136), (14, 15, 15))
        canvas.ellipsoid(Tissue.GLAND, (side * 54, -5, 150), (9, 16, 24))
        canvas.ellipsoid(Tissue.GLAND, (side * 26, -32, 196), (9, 14, 11))
        canvas.ellipsoid(Tissue.MUSCLE, (side * 52, -38, 145), (7, 16, 30))
        canvas.ellipsoid(Tissue.GREY_MATTER if hot else Tissue.GLAND, (side * 14, -22, 178), (5, 7, 10))
    canvas.tube(
        Tissue.AIRWAY, curve([(0, -78, 140), (0, -50, 142), (0, -22, 155), (0, -14, 190)], 8), (6, 9, 10, 9, 8, 7, 7, 6)
    )
    canvas.ellipsoid(Tissue.MUSCLE, (0, -50, 176), (22, 28, 17))
    jaw = np.radians(np.linspace(-10, 190, 12))
    line = np.stack([47 * np.cos(jaw), -20 - 55 * np.sin(jaw), 190 + 0 * jaw], axis=1)
    canvas.tube(Tissue.CORTICAL_BONE, line, 7.0)
    canvas.tube(Tissue.MARROW, line, 3.5)
    canvas.tube(Tissue.CORTICAL_BONE, line * (0.85, 0.9, 0) + (0, -4, 164), 5.0)


def _paint_neck(canvas: Canvas, rng: np.random.Generator) -> None:
    """Larynx, windpipe, thyroid, neck muscles, lymph nodes."""
    for side in (-1, 1):
        canvas.tube(Tissue.FASCIA, curve([(side * 52, 22, 165), (side * 38, -20, 240), (side * 16, -48, 300)], 8), 11.5)
        canvas.tube(Tissue.MUSCLE, curve([(side * 52, 22, 165), (side * 38, -20, 240), (side * 16, -48, 300)], 8), 9.5)
        canvas.ellipsoid(Tissue.GLAND, (side * 16, -24, 262), (8, 9, 22))
        for _ in range(4):
            spot = (side * rng.uniform(30, 46), rng.uniform(-30, 20), rng.uniform(190, 280))
            canvas.ellipsoid(Tissue.GLAND, spot, rng.uniform(2.5, 4.5, 3))
    canvas.ellipsoid(Tissue.CORTICAL_BONE, (0, -28, 228), (18, 15, 22))
    canvas.tube(Tissue.AIRWAY_WALL, [(0, -20, 215), (0, -24, 260), (0, 5, 390)], 11.5)
    canvas.tube(Tissue.AIRWAY, [(0, -14, 185), (0, -22, 215), (0, -24, 260), (0, 5, 390)], 8.5)
    canvas.tube(Tissue.SOFT_TISSUE, [(0, 2, 215), (2, 6, 280), (6, 30, 400)], 7.0)
