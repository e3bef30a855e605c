"""The noise of a scan, read off the scan alone: how large it is, and over how many millimetres it hangs together.

Both are measured where little else varies. `measure_noise` is what the network is told: it looks at the flattest of the
hot windows, where fine anatomy is a small part of what varies even in a scan with little noise. `relative_noise` is
the figure of a report: over the flattest quarter of all warm windows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from MAPDiffLib.scan.geometry import bounding_box

WINDOW_MM = 25.0
HOT_WINDOW_MM = 18.0
HOT = (1.5, 1.0, 0.5)  # times the body's mean: the first that windows over ENOUGH_ML exceed, which no lesion fills
ENOUGH_ML = 100.0
LEVEL_QUANTILE, FLAT_QUANTILE = 0.05, 0.1  # of the hot windows' deviations: what is read, and where widths are
LAG_MM = 4.5  # differences at up to this distance are set beside those at twice as much
MOST_WINDOWS, MOST_VOXELS = 4000, 2_000_000  # for the width: more would say the same


@dataclass(frozen=True)
class Noise:
    """level: local standard deviation over local mean; axial_mm, in_plane_mm: FWHM of its autocorrelation."""

    level: float
    axial_mm: float
    in_plane_mm: float

    def in_voxels(self, spacing_mm: Sequence[float]) -> tuple[float, float, float]:
        """(level, axial, in-plane width in voxels of this spacing, (x, y, z)): what the network is told."""
        return self.level, self.axial_mm / spacing_mm[2], 2 * self.in_plane_mm / (spacing_mm[0] + spacing_mm[1])


UNKNOWN_NOISE = Noise(0.30, 6.5, 8.5)  # told where nothing can be measured: that of a usual scan of 1/20 dose


@dataclass(frozen=True)
class _Grid:
    """Where windows every third of their size lie in a body: the box `around` it that holds them, `sizes`, `strides`
    and `spacing` (z, y, x), the `body` in the box, and whether each window's centre is `inside` it."""

    around: tuple[slice, ...]
    sizes: list[int]
    strides: list[int]
    spacing_mm: Sequence[float]
    body: torch.Tensor
    inside: torch.Tensor

    @classmethod
    def of(cls, body: torch.Tensor, spacing_mm: Sequence[float], window_mm: float) -> _Grid:
        spacing = spacing_mm[::-1]
        sizes = [min(n, max(3, round(window_mm / s) | 1)) for n, s in zip(body.shape, spacing, strict=True)]
        strides, around = [max(1, size // 3) for size in sizes], _around(body, sizes)
        body = body[around]
        centres = tuple(
            slice(size // 2, n - (size - 1 - size // 2), stride)
            for size, n, stride in zip(sizes, body.shape, strides, strict=True)
        )
        return cls(around, sizes, strides, spacing, body, _eroded(body)[centres])

    def enough(self, volume_ml: float) -> float:
        """How many windows it takes to look at so much of a body."""
        return volume_ml * 1000 / math.prod(step * s for step, s in zip(self.strides, self.spacing_mm, strict=True))


@dataclass(frozen=True)
class _Windows:
    """The windows of an image: `voxels` around the body (1 is its mean), the `mean` of each window, and in the flat
    ones, told by `flat`, the relative standard deviation [n]."""

    grid: _Grid
    voxels: torch.Tensor
    mean: torch.Tensor
    flat: torch.Tensor
    deviations: np.ndarray

    def cut(self) -> torch.Tensor:
        """Flat windows divided by their means, [n, z, y, x]: evenly at most MOST_WINDOWS, MOST_VOXELS together."""
        windows = self.voxels
        for axis, (size, stride) in enumerate(zip(self.grid.sizes, self.grid.strides, strict=True)):
            windows = windows.unfold(axis, size, stride)
        places = self.flat.nonzero()
        most = max(1, min(MOST_WINDOWS, MOST_VOXELS // math.prod(self.grid.sizes)))
        places = places[:: -(-len(places) // most)].unbind(dim=1)
        return windows[places] / self.mean[places][:, None, None, None]


def measure_noise(
    voxels: np.ndarray | torch.Tensor, body: np.ndarray | torch.Tensor, spacing_mm: Sequence[float]
) -> Noise | None:
    """The noise of a scan as the network is told it.

    voxels [z, y, x], body bool of the same shape (arrays, or tensors on any device), spacing (x, y, z) in mm. None
    where nothing in the body is warm, or wide enough to tell.
    """
    windows = _hot_windows(voxels, body, spacing_mm)
    if windows is None:
        return None
    level = float(np.quantile(windows.deviations, LEVEL_QUANTILE / FLAT_QUANTILE))
    axial, *plane = _widths(windows.cut(), spacing_mm)
    measured = (level, axial, 0.5 * sum(plane))
    return Noise(*measured) if level > 0 and np.isfinite(measured).all() else None


def relative_noise(
    voxels: np.ndarray | torch.Tensor, body: np.ndarray | torch.Tensor, spacing_mm: Sequence[float]
) -> float | None:
    """Local relative noise of a scan, unit-free: the median over flat, warm parts of the body of local sd / local mean.

    voxels [z, y, x], body bool of the same shape (arrays, or tensors on any device), spacing (x, y, z) in mm. None
    where a body has no such part: it is too thin, or cold.
    """
    return RelativeNoise(body, spacing_mm)(voxels)


class RelativeNoise:
    """`relative_noise` of several images of one body: what only hangs on the body is found once."""

    def __init__(self, body: np.ndarray | torch.Tensor, spacing_mm: Sequence[float]):
        self._grid = _Grid.of(torch.as_tensor(body), spacing_mm, WINDOW_MM)

    def __call__(self, voxels: np.ndarray | torch.Tensor) -> float | None:
        """Flat: the quarter of the warm windows (above half the body mean) that vary least, which leaves edges and
        lesions out. Neighbours overlap by two thirds: every voxel's own would say the same at many times the cost."""
        windows = _windows(torch.as_tensor(voxels), self._grid, (0.5,), 0.25)
        return None if windows is None else float(np.median(windows.deviations))


def _widths(patches: torch.Tensor, spacing_mm: Sequence[float]) -> tuple[float, float, float]:
    """FWHM in mm (z, y, x) of what varies within patches [n, z, y, x]."""
    widths = []
    for axis, spacing in enumerate(reversed(spacing_mm), start=1):
        lag = max(1, int(LAG_MM / spacing))
        near, far = (_squared_differences(patches, axis, distance) for distance in (lag, 2 * lag))
        widths.append(lag * spacing * _gaussian_width(far / near if near else np.nan))
    return tuple(widths)


def _squared_differences(patches: torch.Tensor, axis: int, lag: int) -> float:
    """The mean square of the differences between voxels `lag` apart; nan where a patch is too short."""
    rest = patches.shape[axis] - lag
    if rest < 1:
        return float("nan")
    return float((patches.narrow(axis, lag, rest) - patches.narrow(axis, 0, rest)).square().mean(dtype=torch.float64))


def _gaussian_width(growth: float) -> float:
    """FWHM, in lags, of the Gaussian autocorrelation whose differences grow so from one lag to two.

    With q the correlation at one lag it is q^4 at two: growth = (1 - q^4) / (1 - q) = 1 + q + q^2 + q^3.
    """
    q = np.linspace(1e-6, 0.999, 4000)
    return float(np.sqrt(4 * np.log(2) / -np.log(np.interp(growth, 1 + q + q**2 + q**3, q))))


def _hot_windows(voxels, body, spacing_mm: Sequence[float]) -> _Windows | None:
    """Flat: the tenth of the hot windows that vary least."""
    grid = _Grid.of(torch.as_tensor(body), spacing_mm, HOT_WINDOW_MM)
    return _windows(torch.as_tensor(voxels), grid, HOT, FLAT_QUANTILE)


def _windows(voxels: torch.Tensor, grid: _Grid, warmths: Sequence[float], share: float) -> _Windows | None:
    """The `share` of the warm windows that vary least; warm is the first of `warmths` that enough windows exceed."""
    voxels = voxels[grid.around]
    level = (voxels * grid.body).sum(dtype=torch.float64) / grid.body.sum()
    voxels = voxels / level.to(voxels.dtype)  # squares stay finite
    mean, square = (_window_means(image, grid.sizes, grid.strides) for image in (voxels, voxels.square()))
    enough = grid.enough(ENOUGH_ML)
    warm = next((hot for hot in (grid.inside & (mean > w) for w in warmths) if hot.sum() >= enough), None)
    if warm is None:
        warm = grid.inside & (mean > warmths[-1])
    if not warm.any():
        return None
    relative = (square - mean.square()).clamp(min=0).sqrt() / mean
    deviations = relative[warm].cpu().numpy()
    flattest = np.quantile(deviations, share)
    flat = warm & (relative <= float(flattest))
    return _Windows(grid, voxels, mean, flat, deviations[deviations <= flattest])


def _around(body: torch.Tensor, windows: Sequence[int]) -> tuple[slice, ...]:
    """The box around the body that holds every window centred in it, and at least one."""
    found = (slice(0, 0),) * 3
    if body.any():
        found = bounding_box(body.cpu().numpy(), [window // 2 for window in windows])
    starts = [min(part.start, n - window) for part, n, window in zip(found, body.shape, windows, strict=True)]
    return tuple(
        slice(start, max(part.stop, start + window)) for part, start, window in zip(found, starts, windows, strict=True)
    )


def _window_means(image: torch.Tensor, windows: Sequence[int], strides: Sequence[int]) -> torch.Tensor:
    """Means over whole windows, one every `stride` voxels along each axis."""
    for axis, (window, stride) in enumerate(zip(windows, strides, strict=True)):
        image = image.unfold(axis, window, stride).mean(dim=-1)
    return image


def _eroded(body: torch.Tensor) -> torch.Tensor:
    """Twice without the voxels that have a face towards what is not body."""
    for _ in range(2):
        wide = torch.nn.functional.pad(body, (1,) * 6)
        inner = wide[1:-1, 1:-1, 1:-1]
        for axis in range(3):
            for start in (0, 2):
                inner = inner & wide[tuple(slice(*((start, start + n) if a == axis else (1, 1 + n)))
                                           for a, n in enumerate(body.shape))]  # fmt: skip
        body = inner
    return body
