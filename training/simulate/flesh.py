"""Fine structure of muscle, fat, mesentery, lung, marrow and bowel, as level sets of smooth random fields.

Real full-dose scans owe their fine detail to coherent anatomy with sharp edges: fat planes between muscles, septa
between lobules of fat, vessels everywhere, folds of the gut, islands of red in yellow marrow. A sheet is where a field
is near zero, a vessel where two fields are, an island where a field is high.
"""

from __future__ import annotations

import numpy as np

from training.simulate.shapes import Canvas, SmoothField
from training.simulate.tissues import Tissue

SLICES_AT_A_TIME = 32
MUSCLE = (Tissue.MUSCLE, Tissue.RED_MUSCLE)
SOFT = (*MUSCLE, Tissue.FAT, Tissue.FASCIA, Tissue.MESENTERY, Tissue.SEPTUM)


def paint_fine_structure(canvas: Canvas, rng: np.random.Generator) -> None:
    """Paint into the tissues that are there already; to be called when all else of the body is painted."""
    # Muscles run along the body, so do their planes and most vessels: knots (x, y, z) far apart along z.
    steps = {
        "muscles": (28.0, 28.0, 100.0),
        "bundles": (20.0, 20.0, 70.0),
        "lobules": 15.0,
        "vessel a": (21.0, 21.0, 30.0),
        "vessel b": (21.0, 21.0, 30.0),
        "twig a": 13.0,
        "twig b": 13.0,
        "folds": 9.0,
    }
    fields = {name: SmoothField(rng, canvas.grid, step) for name, step in steps.items()}
    for start in range(0, canvas.grid.shape[0], SLICES_AT_A_TIME):
        box = (slice(start, start + SLICES_AT_A_TIME), slice(None), slice(None))
        body = np.flatnonzero((canvas.labels[box] != Tissue.AIR).any(axis=(0, 2)))
        if body.size == 0:
            continue
        box = (box[0], slice(body[0], body[-1] + 1), box[2])
        _paint_box(canvas, box, {name: field[box] for name, field in fields.items()})


def _paint_box(canvas: Canvas, box: tuple, field: dict[str, np.ndarray]) -> None:
    muscles, bundles = field["muscles"], field["bundles"]
    canvas.paint(box, (muscles > 0) ^ (bundles > 0.5), Tissue.RED_MUSCLE, only=(Tissue.MUSCLE,))
    planes = (np.abs(muscles) < 0.16) | (np.abs(bundles) < 0.10)
    canvas.paint(box, planes, Tissue.FASCIA, only=MUSCLE)
    canvas.paint(box, np.abs(field["lobules"]) < 0.15, Tissue.SEPTUM, only=(Tissue.FAT, Tissue.MESENTERY))
    canvas.paint(box, _tube(field["vessel a"], field["vessel b"], 0.21), Tissue.VESSEL, only=SOFT)
    twigs = _tube(field["twig a"], field["twig b"], 0.20)
    canvas.paint(
        box, twigs, Tissue.VESSEL, only=(Tissue.LUNG, Tissue.MESENTERY, Tissue.FAT, Tissue.SEPTUM, Tissue.FASCIA)
    )
    canvas.paint(box, field["lobules"] > 0.5, Tissue.YELLOW_MARROW, only=(Tissue.MARROW,))
    canvas.paint(box, np.abs(field["folds"]) < 0.20, Tissue.BOWEL_WALL, only=(Tissue.BOWEL_LUMEN,))


def _tube(a: np.ndarray, b: np.ndarray, radius: float) -> np.ndarray:
    return a * a + b * b < np.float32(radius * radius)
