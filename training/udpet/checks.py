"""Whether the doses of a subject are what their names say: one grid, one body, equal activity, noise in their order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from MAPDiffLib.restoration.doses import dose_label
from MAPDiffLib.restoration.noise import relative_noise
from MAPDiffLib.scan.geometry import sigma_voxels
from MAPDiffLib.scan.volume import Volume, body_mask
from training.udpet.headers import Excluded

COARSE_MM, SMOOTHING_MM = 6.0, 12.0
COARSE_BODY = 0.5  # of the mean in the body: where the smoothed reference is body
MOST_SHIFT_MM = 3.0  # of the whole body against that of the reference dose
LEAST_CORRELATION = 0.7  # of the smoothed images inside the body: uptake differs more than noise does
MEAN_TOLERANCE = 0.10  # of the mean activity in the body between two doses of one scan
SLAB = 64  # slices in the middle of the body, where the noise is measured
KG_PER_LITRE = (0.6, 2.5)  # of body in the field of view; legs may be outside it
RETAINED = (0.3, 1.15)  # of the injected activity, found in the field of view


@dataclass(frozen=True)
class Reference:
    """What is kept of the highest dose to compare the others with; `coarse` is smoothed, on a grid of about 6 mm."""

    volume: Volume  # without voxels
    shape: tuple[int, ...]
    coarse: np.ndarray
    body: np.ndarray
    slab: slice
    mean: float

    @classmethod
    def of(cls, scan: Volume) -> Reference:
        """Of a scan in SUV. Excluded ("unreadable") when there is no body in it."""
        body = body_mask(scan.voxels, scan.spacing_mm)
        if not body.any():
            raise Excluded("unreadable", "no body in the scan")
        middle = int(np.median(np.flatnonzero(body.any(axis=(1, 2)))))
        slab = slice(max(0, middle - SLAB // 2), middle + SLAB // 2)
        mean = float(scan.voxels[body].mean(dtype=np.float64))
        empty = scan.with_voxels(np.zeros((1, 1, 1), np.float32))
        return cls(empty, scan.voxels.shape, coarse(scan), body, slab, mean)

    def noise(self, scan: Volume) -> float:
        """Relative noise of a scan on the same grid."""
        return relative_noise(scan.voxels[self.slab], self.body[self.slab], scan.spacing_mm)


def check_aligned(scan: Volume, reference: Reference, dose: float) -> None:
    """Excluded ("misaligned") unless grid and body are those of the reference."""
    label = dose_label(dose)
    same = scan.voxels.shape == reference.shape and all(
        np.allclose(getattr(scan, name), getattr(reference.volume, name), atol=1e-2)
        for name in ("spacing_mm", "origin_mm", "direction")
    )
    if not same:
        raise Excluded(
            "misaligned",
            f"the grid of the {label} dose ({_grid(scan, scan.voxels.shape)}) is not that of the highest dose "
            f"({_grid(reference.volume, reference.shape)})",
        )
    image = coarse(scan)
    inside = reference.coarse > COARSE_BODY * reference.mean
    correlation = float(np.corrcoef(image[inside], reference.coarse[inside])[0, 1])
    if not correlation > LEAST_CORRELATION:
        raise Excluded("misaligned", f"the {label} dose shows another body (correlation {correlation:.2f})")
    shift_mm = _shift_mm(image, reference.coarse, scan.spacing_mm)
    if np.abs(shift_mm).max() > MOST_SHIFT_MM:
        shown = " x ".join(f"{value:.1f}" for value in shift_mm)
        raise Excluded("misaligned", f"the {label} dose is shifted by {shown} mm (x, y, z)")


def check_activity(scan: Volume, reference: Reference, dose: float) -> None:
    """Excluded ("mislabelled") unless the mean SUV in the body is that of the reference."""
    ratio = float(scan.voxels[reference.body].mean(dtype=np.float64)) / reference.mean
    if abs(ratio - 1) > MEAN_TOLERANCE:
        raise Excluded(
            "mislabelled", f"the {dose_label(dose)} dose has {ratio:.2f} times the mean SUV of the highest dose"
        )


def check_noise(noise: dict[float, float]) -> None:
    """Excluded ("mislabelled") unless noise rises as the dose falls: swapped or doubled doses do not."""
    doses = sorted(noise, reverse=True)
    for higher, lower in zip(doses, doses[1:], strict=False):
        if not noise[lower] > noise[higher]:
            raise Excluded(
                "mislabelled",
                f"the {dose_label(lower)} dose has less noise ({noise[lower]:.4f}) than the {dose_label(higher)} dose "
                f"({noise[higher]:.4f}): are they what their names say?",
            )


def check_plausible(scan: Volume, body: np.ndarray, weight_kg: float) -> dict[str, float]:
    """Excluded ("implausible") when the weight does not fit the body, or the activity the injection; else both."""
    voxel_ml = float(np.prod(scan.spacing_mm)) / 1000
    kg_per_litre = weight_kg / (np.count_nonzero(body) * voxel_ml / 1000)
    # SUV x ml / g is the share of the injected activity, whatever weight the header says.
    retained = float(scan.voxels[body].sum(dtype=np.float64)) * voxel_ml / (1000 * weight_kg)
    if not KG_PER_LITRE[0] <= kg_per_litre <= KG_PER_LITRE[1]:
        raise Excluded(
            "implausible", f"a weight of {weight_kg:g} kg for a body of {weight_kg / kg_per_litre:.0f} litres in view"
        )
    if not RETAINED[0] <= retained <= RETAINED[1]:
        raise Excluded("implausible", f"{retained:.0%} of the injected activity is in view: a wrong dose or time?")
    return {"kg_per_litre": round(kg_per_litre, 3), "retained": round(retained, 3)}


def coarse(scan: Volume) -> np.ndarray:
    """Means over blocks of about 6 mm, smoothed by 12 mm: what doses of one scan have in common."""
    bins = [max(1, int(COARSE_MM // s)) for s in reversed(scan.spacing_mm)]
    shape = [n // b for n, b in zip(scan.voxels.shape, bins, strict=True)]
    cut = scan.voxels[tuple(slice(0, n * b) for n, b in zip(shape, bins, strict=True))]
    blocks = cut.reshape([part for n, b in zip(shape, bins, strict=True) for part in (n, b)]).mean(axis=(1, 3, 5))
    sigma = [s / b for s, b in zip(sigma_voxels(SMOOTHING_MM, scan.spacing_mm), bins, strict=True)]
    return ndimage.gaussian_filter(blocks, sigma)


def _shift_mm(image: np.ndarray, reference: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """How far (x, y, z) the image must be moved to lie on the reference."""
    from skimage.registration import phase_cross_correlation

    shift = phase_cross_correlation(reference, image, upsample_factor=10, normalization=None)[0]
    bins = [max(1, int(COARSE_MM // s)) for s in spacing_mm]
    return np.array(shift[::-1]) * bins * np.array(spacing_mm)


def _grid(volume: Volume, shape: tuple[int, ...]) -> str:
    size = " x ".join(map(str, reversed(shape)))
    spacing, origin = (", ".join(f"{v:.2f}" for v in each) for each in (volume.spacing_mm, volume.origin_mm))
    return f"{size} voxels of {spacing} mm from {origin}"
