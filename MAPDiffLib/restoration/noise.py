"""The noise of a scan, read off the scan alone: how large it is, and over how many millimetres it hangs together.

Both are measured where little else varies: in windows of 25 mm, the flattest quarter of the warm ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

WINDOW_MM = 25.0
LAG_MM = 4.5  # differences at up to this distance are set beside those at twice as much
MOST_WINDOWS, MOST_VOXELS = 4000, 16_000_000  # for the width: more would say the same


@dataclass(frozen=True)
class _Windows:
    """Windows every third of their size: `voxels` around the body (1 is its mean), `sizes` and `strides` in voxels,
    the `mean` of each window, and in the flat ones, told by `flat`, the relative standard deviation [n]."""

    voxels: torch.Tensor
    sizes: list[int]
    strides: list[int]
    mean: torch.Tensor
    flat: torch.Tensor
    deviations: np.ndarray

    def cut(self) -> torch.Tensor:
        """Flat windows divided by their means, [n, z, y, x]: evenly at most MOST_WINDOWS, MOST_VOXELS together."""
        windows = self.voxels
        for axis, (size, stride) in enumerate(zip(self.sizes, self.strides, strict=True)):
            windows = windows.unfold(axis, size, stride)
        places = self.flat.nonzero()
        most = max(1, min(MOST_WINDOWS, MOST_VOXELS // math.prod(self.sizes)))
        places = places[:: -(-len(places) // most)].unbind(dim=1)
        return windows[places] / self.mean[places][:, None, None, None]


def relative_noise(
    voxels: np.ndarray | torch.Tensor, body: np.ndarray | torch.Tensor, spacing_mm: Sequence[float]
) -> float | None:
    """Local relative noise of a scan, unit-free: the median over flat, warm parts of the body of local sd / local mean.

    voxels [z, y, x], body bool of the same shape (arrays, or tensors on any device), spacing (x, y, z) in mm. None
    where a body has no such part: it is too thin, or cold.
    """
    windows = _flat_windows(voxels, body, spacing_mm)
    return None if windows is None else float(np.median(windows.deviations))


def noise_widths(
    voxels: np.ndarray | torch.Tensor, body: np.ndarray | torch.Tensor, spacing_mm: Sequence[float]
) -> tuple[float, float, float] | None:
    """FWHM in mm of the noise's autocorrelation along z, y and x, as of a Gaussian; arguments and None as above.

    From squared differences at one and at two lags, in which the noise's own variance cancels and what varies slowly
    hardly counts. It reads a little wide where anatomy is left, the more the less noise there is; nan where nothing
    varies, or where voxels are too large to tell.
    """
    windows = _flat_windows(voxels, body, spacing_mm)
    if windows is None:
        return None
    patches, widths = windows.cut(), []
    for axis, spacing in enumerate(reversed(spacing_mm), start=1):
        lag = max(1, int(LAG_MM / spacing))
        near, far = (_squared_differences(patches, axis, distance) for distance in (lag, 2 * lag))
        widths.append(lag * spacing * _gaussian_width(far / near if near else np.nan))
    return tuple(widths)


def noise_volume_mm3(widths_mm: Sequence[float]) -> float:
    """The volume over which noise of these widths (z, y, x) hangs together; in plane the narrower one counts twice."""
    axial, *plane = widths_mm
    return float(axial * min(plane) ** 2)


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


def _flat_windows(voxels, body, spacing_mm: Sequence[float]) -> _Windows | None:
    """Flat: the quarter of the warm windows (above half the body mean) that vary least, which leaves edges and lesions
    out. Neighbours overlap by two thirds: every voxel's own would say the same at many times the cost."""
    voxels, body = torch.as_tensor(voxels), torch.as_tensor(body)
    sizes = [min(n, max(3, round(WINDOW_MM / s) | 1)) for n, s in zip(voxels.shape, reversed(spacing_mm), strict=True)]
    around = _around(body, sizes)
    voxels, body = voxels[around], body[around]
    voxels = voxels / ((voxels * body).sum(dtype=torch.float64) / body.sum()).to(voxels.dtype)  # squares stay finite
    strides = [max(1, size // 3) for size in sizes]
    mean, square = (_window_means(image, sizes, strides) for image in (voxels, voxels.square()))
    centres = tuple(slice(w // 2, w // 2 + s * n, s) for w, s, n in zip(sizes, strides, mean.shape, strict=True))
    warm = _eroded(body)[centres] & (mean > 0.5)
    if not warm.any():
        return None
    relative = (square - mean.square()).clamp(min=0).sqrt() / mean
    deviations = relative[warm].cpu().numpy()
    flattest = np.quantile(deviations, 0.25)
    flat = warm & (relative <= float(flattest))
    return _Windows(voxels, sizes, strides, mean, flat, deviations[deviations <= flattest])


def _around(body: torch.Tensor, windows: Sequence[int]) -> tuple[slice, ...]:
    """The box around the body that holds every window centred in it."""
    hits = (body.any(dim=b).any(dim=a).nonzero() for a, b in ((0, 1), (0, 2), (1, 2)))  # x, y, z
    spans = [(int(h[0]), int(h[-1]) + 1) if len(h) else (0, 0) for h in hits][::-1]
    return tuple(slice(max(0, a - w // 2), b + w // 2) for (a, b), w in zip(spans, windows, strict=True))


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
