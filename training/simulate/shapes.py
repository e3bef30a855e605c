"""Smooth random fields, and a canvas on which labelled ellipsoids and tubes are painted in body coordinates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BSPLINE_VARIANCE = 151 / 315  # variance along one axis of a cubic B-spline series with unit white coefficients


@dataclass(frozen=True)
class Grid:
    """A voxel grid: shape [z, y, x] and spacing in mm, (x, y, z). The head is at the high end of z."""

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]

    def finer(self, factor: int) -> Grid:
        """The same extent with `factor` times as many voxels along each axis."""
        return Grid(tuple(n * factor for n in self.shape), tuple(s / factor for s in self.spacing_mm))


def _bspline_weights(count: int, spacing_mm: float, step_mm: float) -> np.ndarray:
    position = (np.arange(count) + 0.5) * spacing_mm / step_mm
    knots = np.arange(int(position[-1]) + 4)
    t = np.abs(position[:, None] - (knots[None, :] - 1))
    inner, outer = 2 / 3 - t**2 + t**3 / 2, (2 - t) ** 3 / 6
    return np.where(t < 1, inner, np.where(t < 2, outer, 0)).astype(np.float32)


class SmoothField:
    """Random cubic B-spline field of unit variance on a grid, evaluated box by box: `field[box]` is float32 [z, y, x].

    `step_mm` is its knot distance, one number or one per axis (x, y, z). Level sets of such fields are cheap coherent
    structure: |a| < c is a sheet about c steps thick, a^2 + b^2 < c^2 a tube of radius 0.6 c steps, a > c islands.
    """

    def __init__(self, rng: np.random.Generator, grid: Grid, step_mm: float | tuple[float, float, float]):
        steps = np.broadcast_to(np.asarray(step_mm, float), 3)[::-1]
        self.weights = [
            _bspline_weights(n, s, step) for n, s, step in zip(grid.shape, grid.spacing_mm[::-1], steps, strict=True)
        ]
        size = [w.shape[1] for w in self.weights]
        self.knots = rng.standard_normal(size, dtype=np.float32) / np.float32(BSPLINE_VARIANCE**1.5)

    def __getitem__(self, box: tuple[slice, slice, slice]) -> np.ndarray:
        along_z, along_y, along_x = (w[part] for w, part in zip(self.weights, box, strict=True))
        return np.matmul(along_y, np.tensordot(along_z, self.knots, axes=1)) @ along_x.T


def smooth_field(rng: np.random.Generator, grid: Grid, step_mm: float) -> np.ndarray:
    """A whole `SmoothField` of the grid, float32 [z, y, x]."""
    return SmoothField(rng, grid, step_mm)[:, :, :]


def rotation(degrees_x: float, degrees_y: float, degrees_z: float) -> np.ndarray:
    """Rotation matrix [3, 3] about the body's x, then y, then s axis."""
    a, b, c = np.radians([degrees_x, degrees_y, degrees_z])
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


class Canvas:
    """Labels uint8 [z, y, x] painted in body coordinates (x to the left, y to the back, s down from the vertex; mm).

    Body coordinates are the grid's, scaled by the habitus and bent by a smooth random displacement, so that one set of
    anatomical landmarks gives a different body for every seed.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        grid: Grid,
        scale: tuple[float, float, float],
        head_gap_mm: float,
        bend_mm: float = 6.0,
    ):
        self.grid, self.rng, self.scale = grid, rng, scale
        self.labels = np.zeros(grid.shape, np.uint8)
        axes = [(np.arange(n) + 0.5) * d for n, d in zip(grid.shape, grid.spacing_mm[::-1], strict=True)]
        length = [n * d for n, d in zip(grid.shape, grid.spacing_mm[::-1], strict=True)]
        self.s = ((length[0] - axes[0] - head_gap_mm) / scale[2]).astype(np.float32)
        self.y = ((axes[1] - length[1] / 2) / scale[1]).astype(np.float32)
        self.x = ((axes[2] - length[2] / 2) / scale[0]).astype(np.float32)
        self.bend = [bend_mm * self._bend_field() for _ in range(3)]

    def _bend_field(self) -> np.ndarray:
        broad, local = smooth_field(self.rng, self.grid, 110.0), smooth_field(self.rng, self.grid, 40.0)
        local *= 0.18
        broad += local
        return np.clip(broad, -2.2, 2.2, out=broad)

    def coordinates(self, box: tuple) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(x, y, s) in body mm for every voxel of the box, each [z, y, x]."""
        z, y, x = box
        return (
            self.x[None, None, x] + self.bend[0][box],
            self.y[None, y, None] + self.bend[1][box],
            self.s[z, None, None] + self.bend[2][box],
        )

    def box_around(self, centre, reach) -> tuple | None:
        """Slices [z, y, x] that hold all voxels within `reach` (mm, x y s) of a body point; None when outside."""
        slices = []
        nearest = [
            int(np.abs(axis - c).argmin()) for axis, c in zip((self.s, self.y, self.x), centre[::-1], strict=True)
        ]
        for axis, c, r, bend in zip((self.s, self.y, self.x), centre[::-1], reach[::-1], self.bend[::-1], strict=True):
            middle, margin = c - bend[tuple(nearest)], 3 + 0.2 * r
            inside = np.flatnonzero(np.abs(axis - middle) <= r + margin)
            if inside.size == 0:
                return None
            slices.append(slice(inside[0], inside[-1] + 1))
        return tuple(slices)

    def paint(self, box: tuple, inside: np.ndarray, label: int, only: tuple[int, ...] | None = None) -> None:
        """Give `label` to the voxels of the box that are `inside`, where the label so far is one of `only`."""
        view = self.labels[box]
        if only is not None:
            allowed = np.zeros(256, bool)
            allowed[list(only)] = True
            inside = inside & allowed[view]
        view[inside] = label

    def ellipsoid(
        self,
        label: int,
        centre,
        radii,
        turn: np.ndarray | None = None,
        power: float = 2.0,
        only: tuple[int, ...] | None = None,
    ) -> None:
        """Paint a (super)ellipsoid; `radii` in mm along its own axes, `turn` takes those to body axes."""
        radii, turn = np.asarray(radii, float), np.eye(3) if turn is None else turn
        reach = radii if turn is None or np.allclose(turn, np.eye(3)) else np.sqrt((turn**2) @ radii**2)
        box = self.box_around(centre, reach)
        if box is None:
            return
        offset = [c - np.float32(m) for c, m in zip(self.coordinates(box), centre, strict=True)]
        own = [sum(np.float32(turn[i, k] / radii[k]) * offset[i] for i in range(3)) for k in range(3)]
        q = sum(o * o if power == 2.0 else np.abs(o) ** np.float32(power) for o in own)
        self.paint(box, q < 1, label, only)

    def tube(self, label: int, points, radius, only: tuple[int, ...] | None = None) -> None:
        """Paint a tube along `points` [n, 3] (mm, x y s); `radius` is a number or one per point."""
        points = np.asarray(points, float)
        radius = np.broadcast_to(np.asarray(radius, float), len(points))
        for start, end, r0, r1 in zip(points[:-1], points[1:], radius[:-1], radius[1:], strict=True):
            self._capsule(label, start, end, r0, r1, only)

    def _capsule(self, label, start, end, r0, r1, only) -> None:
        box = self.box_around((start + end) / 2, np.abs(end - start) / 2 + max(r0, r1))
        if box is None:
            return
        offset = [c - np.float32(m) for c, m in zip(self.coordinates(box), start, strict=True)]
        along, length2 = end - start, max(float(np.sum((end - start) ** 2)), 1e-6)
        t = np.clip(sum(np.float32(a / length2) * o for a, o in zip(along, offset, strict=True)), 0, 1)
        distance2 = sum((o - np.float32(a) * t) ** 2 for a, o in zip(along, offset, strict=True))
        self.paint(box, distance2 < (np.float32(r0) + np.float32(r1 - r0) * t) ** 2, label, only)


def curve(points, count: int) -> np.ndarray:
    """`count` points of a smooth (Catmull-Rom) curve through `points`: [count, 3]."""
    p = np.asarray(points, float)
    p = np.concatenate([2 * p[:1] - p[1:2], p, 2 * p[-1:] - p[-2:-1]])
    u = np.linspace(0, len(p) - 3 - 1e-9, count)
    k, t = u.astype(int), (u % 1)[:, None]
    a, b, c, d = p[k], p[k + 1], p[k + 2], p[k + 3]
    return 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
