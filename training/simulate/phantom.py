"""A whole-body FDG phantom from a seed: activity, attenuation, labels and lesions on a voxel grid.

Painted with twice as many voxels along each axis and averaged down, so that the noise-free image has fine structure.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from MAPDiffLib.scan.volume import body_mask
from training.simulate import flesh, head, organs, skeleton
from training.simulate.lesions import LesionPlan, draw_diameter_mm, draw_kind, draw_shape, draw_suv, placed
from training.simulate.shapes import Canvas, Grid, SmoothField, smooth_field
from training.simulate.tissues import PROPERTIES, Tissue, uptake_tables

SUPERSAMPLING = 2
# s (mm), half width, half depth, middle y of the trunk without its fat
TRUNK = np.array(
    [
        (118, 50, 56, 12),
        (150, 52, 60, 10),
        (200, 50, 52, 8),
        (255, 55, 54, 6),
        (282, 84, 60, 6),
        (306, 150, 70, 8),
        (345, 170, 88, 6),
        (400, 160, 100, 4),
        (480, 156, 104, 2),
        (560, 150, 100, 0),
        (640, 138, 92, 2),
        (720, 138, 90, 2),
        (790, 152, 97, 4),
        (860, 164, 104, 6),
        (930, 168, 104, 8),
        (965, 168, 98, 8),
        (985, 150, 60, 8),
    ]
)


@dataclass(frozen=True)
class Lesion:
    """A painted lesion: index [z, y, x] of its centre voxel, diameter, SUV, and the tissue it grew in."""

    centre: tuple[int, int, int]
    diameter_mm: float
    suv: float
    host: str


@dataclass(frozen=True)
class Phantom:
    """activity float32 [z, y, x] in SUV, mu float32 in 1/mm at 511 keV, labels uint8 (Tissue), lesions, habitus."""

    activity: np.ndarray
    mu: np.ndarray
    labels: np.ndarray
    lesions: tuple[Lesion, ...]
    habitus: dict


@dataclass(frozen=True)
class Habitus:
    """What is random about the whole body; lengths in mm, scales relative to a 1.75 m adult."""

    female: bool
    arms_up: bool
    width: float
    height: float
    fat_mm: float
    head_gap_mm: float

    @classmethod
    def random(cls, rng: np.random.Generator, field_radius_mm: float) -> Habitus:
        """Drawn so that the body fits in a transaxial field of view of the given radius."""
        female = bool(rng.random() < 0.5)
        width = float(rng.uniform(0.88, 1.06) * (0.95 if female else 1.0))
        fat = float(np.exp(rng.uniform(np.log(9), np.log(38))))
        needed = {True: 172 * width + fat, False: 244 * width + 0.5 * fat}
        arms_up = bool(rng.random() < 0.6 or needed[False] > field_radius_mm)
        room = field_radius_mm - 8 - needed[arms_up]
        return cls(
            female,
            arms_up,
            width + min(0.0, room / 250),
            float(rng.uniform(0.9, 1.06)),
            fat,
            float(rng.uniform(12, 45)),
        )


def make_phantom(seed: int, grid: Grid, lesions: LesionPlan = LesionPlan()) -> Phantom:  # noqa: B008  (frozen)
    """The phantom of a seed on a grid, with lesions as planned where it has room; the same every time, bit for bit."""
    rng = np.random.default_rng([seed, 1])
    habitus = Habitus.random(rng, 0.5 * min(n * s for n, s in zip(grid.shape[:0:-1], grid.spacing_mm[:2], strict=True)))
    canvas = Canvas(rng, grid.finer(SUPERSAMPLING), (habitus.width, habitus.width, habitus.height), habitus.head_gap_mm)
    _paint_body(canvas, rng, habitus)
    _cut_to_circle(canvas)
    if lesions.rich:
        spots, painted = _paint_rich_lesions(canvas, np.random.default_rng([seed, 3]), lesions)
    else:
        spots, painted = _paint_lesions(canvas, rng, lesions.number)
    canvas.bend = []
    activity, mu = _fill(canvas, rng, spots)
    mean = activity[body_mask(activity, grid.spacing_mm)].mean()  # as a scan's own body mean would be measured
    scale = np.float32(rng.uniform(0.81, 0.88) / mean)
    scaled = tuple(Lesion(spot.centre, spot.diameter_mm, spot.suv * float(scale), spot.host) for spot in painted)
    labels = np.ascontiguousarray(canvas.labels[::SUPERSAMPLING, ::SUPERSAMPLING, ::SUPERSAMPLING])
    return Phantom(activity * scale, mu, labels, scaled, asdict(habitus))


def _paint_body(canvas: Canvas, rng: np.random.Generator, habitus: Habitus) -> None:
    _paint_flesh(canvas, rng, habitus)
    chest = (146.0, 92.0)
    skeleton.paint_shoulders(canvas, habitus.arms_up)
    organs.paint_lungs(canvas, rng, chest)
    skeleton.paint_ribs(canvas, chest)
    organs.paint_heart(canvas, rng)
    organs.paint_bowel(canvas, rng)
    organs.paint_upper_abdomen(canvas, rng)
    organs.paint_flesh_details(canvas, rng)
    organs.paint_vessels(canvas)
    skeleton.paint_spine(canvas)
    skeleton.paint_pelvis(canvas)
    organs.paint_pelvic_organs(canvas, rng, habitus.female)
    head.paint_head(canvas, rng)
    flesh.paint_fine_structure(canvas, rng)


def _paint_flesh(canvas: Canvas, rng: np.random.Generator, habitus: Habitus) -> None:
    """Skin, fat, muscle and the inner of the trunk, slab by slab along z."""
    depth_of_wall = rng.uniform(16, 22)
    for start in range(0, canvas.grid.shape[0], 32):
        box = (slice(start, start + 32), slice(None), slice(None))
        x, y, s = canvas.coordinates(box)
        trunk = _trunk_depth(x, y, s)
        depth = np.maximum(np.maximum(trunk, _head_depth(x, y, s)), _leg_depth(x, y, s))
        fat = np.interp(s[:, 0, 0], (120, 260, 330, 560, 700, 1000), np.array((0.12, 0.2, 0.5, 0.8, 1.0, 0.9)))
        fat = (2.5 + habitus.fat_mm * fat).astype(np.float32)[:, None, None]
        limb = _arm_depth(x, y, s, habitus.arms_up)
        surface = np.maximum(depth + fat, limb + (2.0 + 0.3 * habitus.fat_mm))
        view = canvas.labels[box]
        view[surface > -2.2] = Tissue.SKIN
        view[surface > 0] = Tissue.FAT
        view[np.maximum(depth, limb) > 0] = Tissue.MUSCLE
        cavity = (trunk > depth_of_wall) & (s > 292) & (s < 945) & (y < 52)
        view[cavity] = Tissue.MESENTERY


def _trunk_depth(x, y, s):
    level = s[:, :1, :1]
    a, b, middle = (np.interp(level, TRUNK[:, 0], TRUNK[:, k]).astype(np.float32) for k in (1, 2, 3))
    r = (np.abs(x / a) ** np.float32(2.4) + np.abs((y - middle) / b) ** np.float32(2.4)) ** np.float32(1 / 2.4)
    depth = (1 - r) * np.sqrt(a * b)
    return np.where((s > 118) & (s < 985), depth, -99).astype(np.float32)


def _head_depth(x, y, s):
    skull = 1 - np.sqrt((x / 72) ** 2 + ((y + 2) / 92) ** 2 + ((s - 72) / 72) ** 2)
    face = 1 - np.sqrt((x / 60) ** 2 + ((y + 32) / 62) ** 2 + ((s - 145) / 72) ** 2)
    return np.maximum(skull * 74, face * 60)


def _leg_depth(x, y, s):
    thin = np.clip((s - 950) / 300, 0, 1)
    leg = 1 - np.sqrt(((np.abs(x) - 86) / (80 - 20 * thin)) ** 2 + ((y - 8) / (94 - 22 * thin)) ** 2)
    return np.where(s > 950, leg * 80, -99).astype(np.float32)


def _arm_depth(x, y, s, arms_up):
    """Depth (mm) in the nearer arm, a chain of capsules; negative outside."""
    points = skeleton.arm_points(1, arms_up)[::2]
    depth = np.full(x.shape, -99, np.float32)
    if s.min() > points[:, 2].max() + 90 or s.max() < points[:, 2].min() - 90:
        return depth
    side = np.abs(x)
    for k, (start, end) in enumerate(zip(points[:-1], points[1:], strict=True)):
        along = (end - start).astype(np.float32)
        offset = [c - np.float32(m) for c, m in zip((side, y, s), start, strict=True)]
        t = np.clip(sum(a * o for a, o in zip(along, offset, strict=True)) / np.float32((along**2).sum()), 0, 1)
        distance = np.sqrt(sum((o - a * t) ** 2 for a, o in zip(along, offset, strict=True)))
        radius = np.interp(k, (0, 2, 5), (44, 38, 26))
        depth = np.maximum(depth, radius - distance)
    return depth


def _cut_to_circle(canvas: Canvas) -> None:
    """Nothing lies outside the transaxial field of view."""
    ny, nx = canvas.grid.shape[1:]
    dy, dx = canvas.grid.spacing_mm[1], canvas.grid.spacing_mm[0]
    y, x = ((np.arange(n) + 0.5 - n / 2) * d for n, d in ((ny, dy), (nx, dx)))
    radius = 0.5 * min(ny * dy, nx * dx) - 2 * dx
    canvas.labels[:, y[:, None] ** 2 + x[None, :] ** 2 > radius**2] = Tissue.AIR


HOSTS = (
    Tissue.LIVER,
    Tissue.LUNG,
    Tissue.MARROW,
    Tissue.MESENTERY,
    Tissue.MUSCLE,
    Tissue.FAT,
    Tissue.GLAND,
    Tissue.SPLEEN,
    Tissue.BOWEL_WALL,
    Tissue.SOFT_TISSUE,
)
HOST_SHARE = np.array((0.18, 0.2, 0.2, 0.17, 0.06, 0.04, 0.06, 0.03, 0.03, 0.03))


def _paint_lesions(canvas: Canvas, rng: np.random.Generator, number: tuple[int, int]):
    """Lobulated lesions: (boxes with masks and SUV inside, Lesion list with SUV before the body's scaling)."""
    spots, lesions = [], []
    sample = canvas.labels[::6, ::6, ::6]
    spacing = np.array(canvas.grid.spacing_mm[::-1])
    for _ in range(int(rng.integers(number[0], number[1] + 1))):
        host = HOSTS[rng.choice(len(HOSTS), p=HOST_SHARE / HOST_SHARE.sum())]
        places = np.argwhere(sample == host)
        if len(places) == 0:
            continue
        centre = 6 * places[rng.integers(len(places))]
        diameter, suv = (
            float(np.exp(rng.uniform(np.log(6), np.log(37)))),
            float(np.exp(rng.uniform(np.log(2), np.log(20)))),
        )
        reach = np.ceil(0.8 * diameter / spacing).astype(int) + 1
        low = np.maximum(centre - reach, 0)
        box = tuple(slice(a, b) for a, b in zip(low, np.minimum(centre + reach + 1, canvas.grid.shape), strict=True))
        inside, core = _lobulated(canvas, rng, box, centre, diameter)
        inside &= canvas.labels[box] != Tissue.AIR
        canvas.labels[box][inside] = Tissue.LESION
        spots.append((box, inside, suv * np.where(core, np.float32(0.3), np.float32(1.0))))
        lesions.append(Lesion(tuple(int(c) // SUPERSAMPLING for c in centre), diameter, suv, host.name.lower()))
    return spots, lesions


def _paint_rich_lesions(canvas: Canvas, rng: np.random.Generator, plan: LesionPlan):
    """Lesions of lesions.py: (boxes with masks and SUV inside, Lesion list with SUV before the body's scaling)."""
    spots, lesions = [], []
    sample = canvas.labels[::6, ::6, ::6]
    for _ in range(int(rng.integers(plan.number[0], plan.number[1] + 1))):
        host = HOSTS[rng.choice(len(HOSTS), p=HOST_SHARE / HOST_SHARE.sum())]
        kind = draw_kind(rng, plan.tumours)
        diameter, suv = draw_diameter_mm(rng, kind), draw_suv(rng, PROPERTIES[host][0])
        places = np.argwhere(sample == host)
        if len(places) == 0:
            continue
        centre = 6 * places[rng.integers(len(places))]
        shape = draw_shape(rng, kind, diameter, canvas.grid.spacing_mm, plan.tumours)
        box, uptake = placed(shape, centre, canvas.grid.shape)
        inside = (uptake > 0) & (canvas.labels[box] != Tissue.AIR)
        if (canvas.labels[box][inside] == Tissue.LESION).any():  # two in one would have no SUV of their own
            continue
        canvas.labels[box][inside] = Tissue.LESION
        spots.append((box, inside, suv * uptake))
        lesions.append(Lesion(tuple(int(c) // SUPERSAMPLING for c in centre), diameter, suv, host.name.lower()))
    return spots, lesions


def _lobulated(canvas: Canvas, rng: np.random.Generator, box, centre, diameter: float):
    """Masks of a lesion and of its cold core (mostly empty) in a box."""
    spacing = canvas.grid.spacing_mm[::-1]
    axes = np.ogrid[tuple(box)]
    stretch = np.exp(rng.normal(0, 0.15, 3))
    offset = [(a - c) * d / e for a, c, d, e in zip(axes, centre, spacing, stretch, strict=True)]
    radius = np.sqrt(sum(o**2 for o in offset)) / (0.5 * diameter)
    local = Grid(tuple(int(n) for n in radius.shape), canvas.grid.spacing_mm)
    radius = radius * (1 + 0.13 * np.clip(smooth_field(rng, local, max(8.0, 0.5 * diameter)), -1.5, 1.5))
    core = radius < (0.55 if diameter > 20 and rng.random() < 0.35 else 0.0)
    return radius < 1, core


def _fill(canvas: Canvas, rng: np.random.Generator, spots) -> tuple[np.ndarray, np.ndarray]:
    """Uptake and attenuation of the labels, textured, averaged down to the voxel grid."""
    tables = uptake_tables(rng)
    broad, fine = SmoothField(rng, canvas.grid, 38.0), SmoothField(rng, canvas.grid, 9.0)
    shape = tuple(n // SUPERSAMPLING for n in canvas.grid.shape)
    level = np.zeros(canvas.grid.shape, np.float32)
    for box, inside, suv in spots:
        level[box][inside] = suv[inside]
    activity, mu = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for z in range(0, canvas.grid.shape[0], 32):
        part, out = slice(z, z + 32), slice(z // SUPERSAMPLING, (z + 32) // SUPERSAMPLING)
        box, labels = (part, slice(None), slice(None)), canvas.labels[part]
        texture = tables["broad"][labels] * np.clip(broad[box], -2.5, 2.5)
        texture += tables["fine"][labels] * np.clip(fine[box], -3, 3)
        activity[out] = _averaged((tables["suv"][labels] + level[part]) * np.exp(texture))
        mu[out] = _averaged(tables["mu"][labels])
    return activity, mu


def _averaged(values: np.ndarray) -> np.ndarray:
    step = SUPERSAMPLING
    parts = [values[a::step, b::step, c::step] for a in range(step) for b in range(step) for c in range(step)]
    return sum(parts) / np.float32(step**3)
