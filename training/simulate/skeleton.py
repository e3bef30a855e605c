"""Bones of the phantom: spine, ribs, shoulder, pelvis, thighs. Body coordinates: x left, y back, s down, in mm."""

from __future__ import annotations

import numpy as np

from training.simulate.shapes import Canvas, curve, rotation
from training.simulate.tissues import Tissue

SPINE = (
    (0, 25, 150),
    (0, 30, 210),
    (0, 34, 260),
    (0, 58, 340),
    (0, 70, 430),
    (0, 64, 540),
    (0, 40, 680),
    (0, 36, 760),
    (0, 52, 800),
)
SPINE_CURVE = curve(SPINE, 200)


def spine_point(s: float) -> np.ndarray:
    """Centre of the vertebral column at height s (mm): (x, y, s)."""
    return np.array([np.interp(s, SPINE_CURVE[:, 2], SPINE_CURVE[:, k]) for k in range(3)])


def bone_tube(canvas: Canvas, points, radius: float, cortex_mm: float) -> None:
    """A long bone: cortical tube filled with marrow."""
    canvas.tube(Tissue.CORTICAL_BONE, points, radius)
    canvas.tube(Tissue.MARROW, points, radius - cortex_mm)


def paint_spine(canvas: Canvas) -> None:
    """24 vertebrae with discs between them, canal and spinous processes, and the sacrum."""
    edges = np.concatenate([np.linspace(152, 262, 8), np.linspace(262, 580, 13)[1:], np.linspace(580, 778, 6)[1:]])
    for top, bottom in zip(edges[:-1], edges[1:], strict=True):
        centre, height = spine_point((top + bottom) / 2), bottom - top
        width = np.interp(top, (150, 300, 760), (11, 15, 26))
        radii = np.array([width, 0.75 * width, 0.5 * height - 1.2])
        canvas.ellipsoid(Tissue.SOFT_TISSUE, centre, radii * (0.95, 0.95, 1.4), power=3)
        canvas.ellipsoid(Tissue.CORTICAL_BONE, centre, radii, power=4)
        canvas.ellipsoid(Tissue.MARROW, centre, radii - 1.8, power=4)
        behind = centre + (0, 0.75 * width + 9, 0)
        canvas.ellipsoid(Tissue.CORTICAL_BONE, behind, (12, 11, 0.35 * height))
        canvas.ellipsoid(Tissue.FLUID, behind, (8.5, 7.5, 0.6 * height), power=3)
        canvas.tube(Tissue.CORTICAL_BONE, [behind + (0, 10, 2), behind + (0, 26, 10)], (4.5, 3.5))
        for side in (-1, 1):
            canvas.tube(
                Tissue.CORTICAL_BONE,
                [behind, behind + (side * (width + 10), 4, -2)],
                (4.5, 3.0),
                only=(Tissue.MUSCLE, Tissue.MESENTERY, Tissue.FAT, Tissue.FASCIA),
            )
    canvas.tube(
        Tissue.FLUID,
        [(0, p[1] + 0.75 * np.interp(p[2], (150, 300, 760), (11, 15, 26)) + 9, p[2]) for p in SPINE_CURVE[4::8]],
        6.0,
    )
    for centre, radii in (((0, 62, 815), (48, 17, 30)), ((0, 76, 850), (34, 13, 28)), ((0, 80, 885), (14, 8, 22))):
        canvas.ellipsoid(Tissue.CORTICAL_BONE, centre, radii, power=3)
        canvas.ellipsoid(Tissue.MARROW, centre, np.subtract(radii, 2.5), power=3)


def paint_ribs(canvas: Canvas, chest: tuple[float, float]) -> None:
    """12 pairs of ribs on an ellipse of half axes `chest` (mm), sternum; marrow inside."""
    for k in range(12):
        start, width = 296 + 23.0 * k, chest[0] * np.interp(k, (0, 2, 5, 11), (0.55, 0.8, 1.0, 0.97))
        depth = chest[1] * np.interp(k, (0, 2, 5, 11), (0.75, 0.92, 1.0, 0.96))
        end_angle = np.radians(-70 if k < 7 else -50 + 18 * (k - 7))
        angle = np.linspace(np.radians(80), end_angle, 14)
        drop = np.interp(angle, (angle[-1], angle[0]), (58 if k < 10 else 40, 0))
        for side in (-1, 1):
            points = np.stack([side * width * np.cos(angle), depth * np.sin(angle) - 2, start + drop], axis=1)
            bone_tube(canvas, points, 5.2, 1.8)
    canvas.ellipsoid(Tissue.CORTICAL_BONE, (0, -0.99 * chest[1], 400), (17, 6.5, 72), rotation(-8, 0, 0), power=3)
    canvas.ellipsoid(Tissue.MARROW, (0, -0.99 * chest[1], 400), (14.5, 4.2, 69), rotation(-8, 0, 0), power=3)


def paint_shoulders(canvas: Canvas, arms_up: bool) -> None:
    """Clavicles, shoulder blades and the bones of both arms."""
    for side in (-1, 1):
        bone_tube(canvas, curve([(side * 15, -58, 310), (side * 75, -55, 292), (side * 148, -5, 296)], 8), 6.5, 2.0)
        canvas.ellipsoid(Tissue.CORTICAL_BONE, (side * 100, 72, 370), (6, 42, 66), rotation(0, side * 12, side * 62))
        canvas.ellipsoid(Tissue.MARROW, (side * 100, 72, 370), (3, 35, 58), rotation(0, side * 12, side * 62))
        bone_tube(canvas, arm_points(side, arms_up), 11.0, 4.0)
        for radius, tissue in ((24, Tissue.CORTICAL_BONE), (21, Tissue.MARROW)):
            canvas.ellipsoid(tissue, arm_points(side, arms_up)[0], (radius, radius, radius))


def arm_points(side: int, arms_up: bool) -> np.ndarray:
    """Middle line of one arm from the shoulder on: [n, 3]; raised beside the head, or hanging."""
    if arms_up:
        line = [
            (side * 158, 5, 312),
            (side * 172, 0, 220),
            (side * 168, -10, 110),
            (side * 140, -20, 20),
            (side * 100, -30, -90),
        ]
    else:
        line = [
            (side * 165, 8, 322),
            (side * 196, 15, 440),
            (side * 204, 22, 590),
            (side * 206, 5, 720),
            (side * 200, -20, 860),
            (side * 196, -30, 930),
        ]
    return curve(line, 12)


def paint_pelvis(canvas: Canvas) -> None:
    """Iliac wings, pubic and sitting bones, hip joints and thigh bones."""
    for side in (-1, 1):
        turn = rotation(18, side * 14, side * 38)
        for tissue, shrink in ((Tissue.CORTICAL_BONE, 0.0), (Tissue.MARROW, 2.8)):
            canvas.ellipsoid(tissue, (side * 88, 30, 815), np.array([9.5, 52, 68]) - shrink, turn, power=2.4)
            canvas.ellipsoid(tissue, (side * 84, 18, 900), np.array([27, 30, 32]) - shrink)
        ring = curve([(side * 62, -10, 908), (side * 30, -42, 925), (side * 4, -46, 935)], 6)
        bone_tube(canvas, ring, 9.0, 2.5)
        bone_tube(canvas, curve([(side * 80, 40, 915), (side * 62, 42, 960), (side * 30, -20, 955)], 7), 10.0, 2.8)
        canvas.ellipsoid(Tissue.FASCIA, (side * 92, 10, 905), (25.5, 25.5, 25.5))
        canvas.ellipsoid(Tissue.CORTICAL_BONE, (side * 92, 10, 905), (24, 24, 24))
        canvas.ellipsoid(Tissue.MARROW, (side * 92, 10, 905), (22, 22, 22))
        bone_tube(canvas, [(side * 92, 10, 905), (side * 128, 12, 945)], 15.0, 3.0)
        bone_tube(
            canvas,
            [(side * 128, 12, 940), (side * 118, 5, 1010), (side * 100, 0, 1150), (side * 96, 0, 1320)],
            15.5,
            6.0,
        )
