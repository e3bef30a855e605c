"""Organs of chest and abdomen, vessels, bowel. Body coordinates: x left, y back, s down from the vertex, in mm."""

from __future__ import annotations

import numpy as np

from training.simulate.shapes import Canvas, Grid, curve, rotation, smooth_field
from training.simulate.skeleton import spine_point
from training.simulate.tissues import Tissue

INNER = (Tissue.MESENTERY, Tissue.MUSCLE, Tissue.FASCIA, Tissue.SOFT_TISSUE, Tissue.BOWEL_WALL, Tissue.BOWEL_LUMEN)
# the great vessels: middle line (x, y, s) and radius, mm
VESSELS = (
    (
        (
            (18, -12, 455),
            (4, -22, 405),
            (-6, -18, 378),
            (12, 10, 365),
            (24, 38, 385),
            (20, 46, 440),
            (8, 34, 560),
            (4, 12, 660),
            (2, 8, 745),
        ),
        12.5,
    ),
    (((-30, -12, 300), (-28, -14, 350), (-26, -10, 430), (-24, 10, 540), (-18, 14, 640), (-14, 14, 745)), 10.5),
    (((8, -24, 445), (14, -18, 410), (0, 2, 400)), 12.0),
    (((2, 0, 402), (-42, 6, 412)), 9.0),
    (((6, 2, 400), (46, 12, 408)), 9.0),
    (((0, 2, 430), (-46, 14, 440)), 7.5),
    (((4, 2, 430), (48, 18, 440)), 7.5),
)
PAIRED_VESSELS = (
    (((6, -12, 372), (16, -14, 320), (22, -12, 240), (26, -8, 180)), 4.0),
    (((30, -14, 320), (30, -14, 240), (32, -6, 180)), 5.5),
    (((14, -18, 330), (60, -20, 300), (120, -5, 312), (165, 5, 330)), 5.0),
    (((3, 10, 742), (36, 22, 800), (62, -20, 880), (66, -38, 940), (74, -20, 1080)), 6.5),
    (((6, 14, 745), (32, 30, 800), (54, -14, 880), (54, -34, 940), (62, -12, 1080)), 7.0),
    (((6, 18, 645), (30, 30, 645), (50, 45, 650)), 4.0),
)


def paint_lungs(canvas: Canvas, rng: np.random.Generator, chest: tuple[float, float]) -> None:
    """Both lungs with a branching tree of vessels and airways."""
    a, b = chest[0] - 8, chest[1] - 8
    for side in (-1, 1):
        centre, radii = np.array([side * 0.53 * a, 4, 432]), np.array([0.45 * a, 0.88 * b, 138 - 6 * (side > 0)])
        canvas.ellipsoid(Tissue.LUNG, centre, radii, rotation(0, side * 5, side * 8), power=2.5, only=INNER)
        hilum = np.array([side * 38, 8, 415])
        for _ in range(46):
            aim = centre + radii * 0.88 * _direction(rng)
            line = curve([hilum, hilum + 0.5 * (aim - hilum) + rng.normal(0, 9, 3), aim], 5)
            size = rng.uniform(2.2, 4.6)
            canvas.tube(Tissue.BLOOD, line, np.linspace(size, 1.1, 5), only=(Tissue.LUNG,))
        for _ in range(7):
            aim = centre + radii * 0.6 * _direction(rng)
            line = curve([(0, 5, 390), hilum, aim], 6)
            canvas.tube(Tissue.AIRWAY_WALL, line, np.linspace(8, 2.5, 6), only=(Tissue.LUNG, *INNER))
            canvas.tube(Tissue.AIRWAY, line, np.linspace(6, 1.2, 6))


def _direction(rng: np.random.Generator) -> np.ndarray:
    v = rng.standard_normal(3)
    return v / np.linalg.norm(v)


def paint_heart(canvas: Canvas, rng: np.random.Generator) -> None:
    """Four chambers; the left ventricle's wall thick, in a random direction around the usual axis."""
    tilt = rotation(rng.normal(50, 7), rng.normal(-38, 7), rng.normal(0, 5))
    centre = np.array([32, -28, 485]) + rng.normal(0, 3, 3)
    canvas.ellipsoid(Tissue.MESENTERY, centre + (-12, 8, -8), (60, 50, 62))
    canvas.ellipsoid(Tissue.BLOOD, centre + (-48, 14, -8), (26, 28, 32))
    canvas.ellipsoid(Tissue.BLOOD, centre + (-22, 34, -28), (36, 20, 24))
    right = rotation(50, -38, 0)
    canvas.ellipsoid(Tissue.VESSEL_WALL, centre + (-32, -10, 4), (27, 30, 46), right)
    canvas.ellipsoid(Tissue.BLOOD, centre + (-32, -10, 4), (23.5, 26.5, 42), right)
    wall = rng.uniform(9, 13)
    canvas.ellipsoid(Tissue.MYOCARDIUM, centre, (33, 33, 47), tilt)
    canvas.ellipsoid(Tissue.BLOOD, centre - tilt @ (0, 0, 6), (33 - wall, 33 - wall, 48 - wall), tilt)


def paint_vessels(canvas: Canvas) -> None:
    """Aorta, caval veins, pulmonary trunk, neck, arm and leg vessels, with their walls."""
    lines = [(line, radius) for line, radius in VESSELS]
    lines += [(np.multiply(line, (side, 1, 1)), radius) for line, radius in PAIRED_VESSELS for side in (-1, 1)]
    for tissue, grow in ((Tissue.VESSEL_WALL, 1.2), (Tissue.BLOOD, 0.0)):
        for line, radius in lines:
            canvas.tube(tissue, curve(line, 5 * len(line) - 6), radius + grow)


def paint_upper_abdomen(canvas: Canvas, rng: np.random.Generator) -> None:
    """Liver with its vessels, gall bladder, spleen, stomach, pancreas, adrenals, kidneys."""
    soft = (*INNER, Tissue.LUNG, Tissue.BLOOD, Tissue.AIRWAY, Tissue.AIRWAY_WALL)
    grow = rng.uniform(0.82, 1.02, 3)
    canvas.ellipsoid(Tissue.LIVER, (-66, 2, 588), (70, 77, 78) * grow, rotation(0, -12, 0), 2.4, only=soft)
    canvas.ellipsoid(Tissue.LIVER, (2, -38, 562), (72, 42, 40) * grow, rotation(0, -14, 0), only=soft)
    for _ in range(18):
        aim = (-66, 0, 585) + 62 * _direction(rng)
        line = curve([(-30, 5, 600), (-48, 0, 590) + rng.normal(0, 8, 3), aim], 5)
        canvas.tube(Tissue.BLOOD, line, np.linspace(rng.uniform(3, 5.5), 1.2, 5), only=(Tissue.LIVER,))
    canvas.ellipsoid(Tissue.FLUID, (-52, -45, 640), (14, 16, 30), rotation(20, 0, 0))
    canvas.ellipsoid(
        Tissue.SPLEEN, (104, 38, 572), (22, 44, 52) * rng.uniform(0.85, 1.2, 3), rotation(25, 12, 30), only=soft
    )
    stomach = curve([(30, 0, 535), (66, -10, 560), (68, -34, 612), (30, -52, 650), (-18, -42, 645)], 14)
    radius = rng.uniform(0.7, 1.15) * np.interp(np.arange(14), (0, 3, 8, 13), (20, 36, 27, 12))
    free = (*INNER, Tissue.LUNG)
    canvas.tube(Tissue.STOMACH_WALL, stomach, radius, only=free)
    canvas.tube(Tissue.BOWEL_LUMEN, stomach, radius - 5, only=(*free, Tissue.STOMACH_WALL))
    canvas.tube(
        Tissue.GLAND,
        curve([(-36, -8, 655), (-10, -14, 640), (40, -2, 625), (82, 18, 610)], 9),
        np.linspace(14, 8, 9),
        only=INNER,
    )
    for side in (-1, 1):
        canvas.tube(Tissue.GLAND, [(side * 32, 30, 615), (side * 46, 40, 632)], 3.5, only=INNER)
        _paint_kidney(canvas, rng, side)


def _paint_kidney(canvas: Canvas, rng: np.random.Generator, side: int) -> None:
    centre = np.array([side * 66, 44, 662 - 8 * side]) + rng.normal(0, 4, 3)
    turn, size = rotation(rng.normal(-8, 4), side * -12, side * 40), rng.uniform(0.88, 1.12)
    radii = size * np.array([28, 23, 54])
    canvas.ellipsoid(Tissue.MESENTERY, centre, radii + 8, turn, only=INNER)
    canvas.ellipsoid(Tissue.KIDNEY_CORTEX, centre, radii, turn)
    box = canvas.box_around(centre, (56, 56, 60))
    if box is not None:
        local = Grid(tuple(int(n) for n in canvas.labels[box].shape), canvas.grid.spacing_mm)
        kept = canvas.labels[box].copy()
        canvas.ellipsoid(Tissue.KIDNEY_MEDULLA, centre, radii - 8, turn, only=(Tissue.KIDNEY_CORTEX,))
        columns = (smooth_field(rng, local, 14.0) > 0.35) & (kept == Tissue.KIDNEY_CORTEX)
        canvas.paint(box, columns, Tissue.KIDNEY_CORTEX)
    inner = centre - (side * 9, 4, 0)
    canvas.ellipsoid(Tissue.MESENTERY, inner, radii - (16, 15, 26), turn)
    for _ in range(5):
        canvas.tube(
            Tissue.KIDNEY_PELVIS, [inner, inner + (side * 8, 4, rng.uniform(-26, 26))], rng.uniform(2.5, 5.0, 2)
        )
    ureter = curve(
        [inner, inner + (-side * 16, -6, 20), (side * 38, 22, 740), (side * 44, 22, 830), (side * 20, 8, 890)], 24
    )
    for piece in range(0, 23, 4):
        if rng.random() < 0.4:
            canvas.tube(Tissue.KIDNEY_PELVIS, ureter[piece : piece + 4], rng.uniform(1.6, 2.6))


def paint_bowel(canvas: Canvas, rng: np.random.Generator) -> None:
    """Colon on its frame with haustra, small bowel on a random walk; wall and content."""
    frame = np.array(
        [
            (-92, 8, 830),
            (-104, 10, 770),
            (-104, 12, 700),
            (-84, -40, 672),
            (-20, -66, 690),
            (45, -64, 672),
            (98, -10, 648),
            (108, 24, 700),
            (104, 22, 780),
            (78, 0, 838),
            (30, -10, 850),
            (6, 40, 862),
            (0, 52, 915),
        ],
        float,
    )
    frame[:-2] += rng.normal(0, 7, frame[:-2].shape)
    colon = curve(frame, 90)
    radius = rng.uniform(15, 21) * (1 + 0.16 * np.sin(np.arange(90) * 2.1) + 0.1 * rng.standard_normal(90))
    _paint_gut(canvas, rng, _small_bowel(rng), rng.uniform(9, 12) * (1 + 0.12 * rng.standard_normal(260)), 3.0)
    _paint_gut(canvas, rng, colon, np.clip(radius, 9, 28), 3.5)


def _paint_gut(canvas: Canvas, rng: np.random.Generator, line: np.ndarray, radius: np.ndarray, wall: float) -> None:
    for k in range(len(line) - 1):
        piece = slice(k, k + 2)
        canvas.tube(Tissue.BOWEL_WALL, line[piece], radius[piece], only=INNER)
    lumen = Tissue.AIRWAY if rng.random() < 0.1 else Tissue.BOWEL_LUMEN
    for k in range(len(line) - 1):
        if rng.random() < 0.85:
            piece = slice(k, k + 2)
            canvas.tube(lumen, line[piece], np.maximum(radius[piece] - wall, 2), only=(Tissue.BOWEL_WALL,))


def _small_bowel(rng: np.random.Generator) -> np.ndarray:
    low, high = np.array([-72, -64, 690]), np.array([72, 0, 842])
    point, heading, points = rng.uniform(low, high), _direction(rng), []
    for _ in range(75):
        heading = heading + 0.9 * rng.standard_normal(3)
        heading *= np.array((1.2, 0.8, 1.0)) / np.linalg.norm(heading)
        step = point + 24 * heading
        heading = np.where((step < low) | (step > high), -heading, heading)
        point = np.clip(point + 24 * heading, low, high)
        points.append(point)
    return curve(points, 260)


def paint_pelvic_organs(canvas: Canvas, rng: np.random.Generator, female: bool) -> None:
    """Bladder of random filling, womb or prostate, rectum."""
    fill = rng.uniform(0.55, 1.2)
    canvas.tube(Tissue.BOWEL_WALL, [(0, 52, 870), (0, 56, 930), (0, 44, 975)], (15, 16, 9))
    canvas.tube(Tissue.BOWEL_LUMEN, [(0, 52, 870), (0, 56, 930)], (9, 10))
    if female:
        canvas.ellipsoid(Tissue.SOFT_TISSUE, (rng.normal(0, 6), 20, 860), (25, 24, 36), rotation(35, 0, 0))
        for side in (-1, 1):
            canvas.ellipsoid(Tissue.GLAND, (side * 42, 18, 862), (11, 9, 15))
    else:
        canvas.ellipsoid(Tissue.GLAND, (0, 14, 945), (22, 17, 19))
        for side in (-1, 1):
            canvas.ellipsoid(Tissue.GLAND, (side * 18, -78, 1005), (13, 15, 20))
    radii = fill * np.array([38, 31, 32])
    centre = (rng.normal(0, 3), -16, 920 - 0.5 * radii[2])
    canvas.ellipsoid(Tissue.SOFT_TISSUE, centre, radii + 3.5)
    canvas.ellipsoid(Tissue.BLADDER, centre, radii)


def paint_flesh_details(canvas: Canvas, rng: np.random.Generator) -> None:
    """Spots that scans are full of: lymph nodes, mesenteric vessels, nerve roots."""
    root = spine_point(680) - (0, 30, 0)
    for _ in range(40):
        aim = root + rng.uniform((-90, -70, -10), (90, -10, 150))
        canvas.tube(
            Tissue.BLOOD,
            curve([root, (root + aim) / 2 + rng.normal(0, 12, 3), aim], 6),
            np.linspace(3.2, 1.4, 6),
            only=(Tissue.MESENTERY,),
        )
    for _ in range(60):
        spot = rng.uniform((-95, -60, 300), (95, 50, 930))
        canvas.ellipsoid(Tissue.GLAND, spot, rng.uniform(2, 5, 3), only=(Tissue.MESENTERY, Tissue.FASCIA))
