"""A PET scanner in two dimensions per slice: system matrix, counts, nested doses, OSEM.

y = n a (P x) + s + r: strip integrals P with a Gaussian footprint that carries the transaxial point spread, attenuation
a, axial sensitivity n, scatter s, randoms r. Arrays are [pixels, slices] and [angle * bin, slices], so that one sparse
product handles all slices. Missing on purpose, and said in the model card: oblique lines, time of flight, motion.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import ndimage, sparse, special

from MAPDiffLib.scan.geometry import FWHM_PER_SIGMA

SUBSETS = 20


@dataclass(frozen=True)
class ScannerSetup:
    """One scanner, scan and reconstruction. What the reconstruction believes differs from what happened."""

    voxel_mm: float
    slice_mm: float
    angles: int = 120
    trues_per_m: float = 5e8
    psf_mm: float = 4.5
    model_psf_mm: float = 4.0
    axial_psf_mm: float = 4.0
    scatter_fraction: float = 0.35
    scatter_error: float = 1.0
    scatter_width_mm: float = 55.0
    randoms_fraction: float = 0.30
    edge_sensitivity: float = 0.6
    iterations: int = 2
    filter_mm: float = 4.0
    axial_filter_mm: float = 3.5

    @classmethod
    def random(cls, rng: np.random.Generator) -> ScannerSetup:
        """The "internal" family: present long-axial-field scanners, point-spread reconstruction, little filtering."""
        return cls(
            voxel_mm=round(float(rng.uniform(3.6, 4.7)), 3),
            slice_mm=round(float(rng.uniform(3.6, 4.6)), 3),
            trues_per_m=float(np.exp(rng.uniform(np.log(2.5e8), np.log(1e9)))),
            psf_mm=float(rng.uniform(3.5, 5.5)),
            model_psf_mm=float(rng.uniform(3.5, 5.0)),
            axial_psf_mm=float(rng.uniform(3.5, 5.0)),
            scatter_fraction=float(rng.uniform(0.30, 0.40)),
            scatter_error=float(np.clip(rng.normal(1.0, 0.04), 0.9, 1.1)),
            scatter_width_mm=float(rng.uniform(40, 75)),
            randoms_fraction=float(rng.uniform(0.3, 0.6)),
            edge_sensitivity=float(rng.uniform(0.45, 0.85)),
            iterations=int(rng.choice([2, 3, 4], p=[0.1, 0.75, 0.15])),
            filter_mm=float(rng.choice([rng.uniform(0.0, 3.1), rng.uniform(3.1, 5.0)], p=[0.92, 0.08])),
            axial_filter_mm=float(rng.uniform(4.05, 4.7)),
        )

    @classmethod
    def random_varied(cls, rng: np.random.Generator) -> ScannerSetup:
        """The family of training: noise of any level and width, each by itself.

        A tenth to ten times the usual counts, 1 to 6 iterations, post-filters of 0 to 8 mm (two fifths of them little,
        as present scanners have it), voxels to 5.5 mm (finer ones come from zoomed patches). Its point spreads,
        scatter, randoms and axial sensitivity are the internal family's: the external one stays unseen.
        """
        usual = cls.random(rng)
        return replace(
            usual,
            voxel_mm=round(float(rng.uniform(3.6, 5.5)), 3),
            slice_mm=round(float(rng.uniform(3.0, 5.5)), 3),
            trues_per_m=float(np.exp(rng.uniform(np.log(5e7), np.log(5e9)))),
            iterations=int(rng.integers(1, 7)),
            filter_mm=float(rng.uniform(0.0, 3.1) if rng.random() < 0.4 else rng.uniform(0.0, 8.0)),
            axial_filter_mm=float(rng.uniform(2.5, 5.0)),
        )

    @classmethod
    def random_external(cls, rng: np.random.Generator) -> ScannerSetup:
        """The "external" family: an older scanner, outside the internal family in every respect. Never trained on."""
        return cls(
            voxel_mm=round(float(rng.uniform(4.9, 5.5)), 3),
            slice_mm=round(float(rng.uniform(2.6, 2.95)), 3),
            angles=100,
            trues_per_m=float(np.exp(rng.uniform(np.log(1.2e8), np.log(2.5e8)))),
            psf_mm=float(rng.uniform(5.6, 6.5)),
            model_psf_mm=float(rng.uniform(5.2, 6.0)),
            axial_psf_mm=float(rng.uniform(5.2, 6.0)),
            scatter_fraction=float(rng.uniform(0.41, 0.46)),
            scatter_error=float(rng.uniform(0.9, 1.1)),
            scatter_width_mm=float(rng.uniform(76, 90)),
            randoms_fraction=float(rng.uniform(0.65, 0.8)),
            edge_sensitivity=float(rng.uniform(0.3, 0.44)),
            iterations=1,
            filter_mm=float(rng.uniform(5.1, 6.0)),
            axial_filter_mm=float(rng.uniform(5.5, 6.0)),
        )


def system_matrix(
    shape: tuple[int, int], voxel_mm: float, angles: np.ndarray, psf_mm: float, pixels: np.ndarray | None = None
) -> sparse.csr_array:
    """Strip integrals in mm: float32 CSR [len(angles) * bins, pixels] for an image [y, x], bins as wide as a voxel.

    Each pixel spreads over its neighbouring bins with a Gaussian: the variance of a unit pixel and a unit strip plus
    that of the point spread (blur along the bins at every angle is the same as blur of the image). `pixels`: flat
    indices of the pixels kept, all when None.
    """
    ny, nx = shape
    pixels = np.arange(ny * nx) if pixels is None else pixels
    y, x = pixels // nx - (ny - 1) / 2, pixels % nx - (nx - 1) / 2
    sigma = np.sqrt(1 / 6 + (psf_mm / FWHM_PER_SIGMA / voxel_mm) ** 2)
    bins, half = max(shape), int(np.ceil(2.6 * sigma))
    position = np.cos(angles)[:, None] * x + np.sin(angles)[:, None] * y + (bins - 1) / 2
    nearest = np.rint(position).astype(np.int32)
    taps = np.arange(-half, half + 1)
    weights = np.exp(-0.5 * ((nearest - position)[..., None] + taps) ** 2 / sigma**2)
    weights *= voxel_mm / weights.sum(axis=-1, keepdims=True)
    columns = nearest[..., None] + taps
    rows = np.arange(len(angles), dtype=np.int32)[:, None, None] * bins + columns
    keep = (columns >= 0) & (columns < bins)
    places = np.broadcast_to(np.arange(len(pixels), dtype=np.int32)[None, :, None], rows.shape)
    matrix = sparse.coo_array(
        (weights[keep].astype(np.float32), (rows[keep], places[keep])), shape=(len(angles) * bins, len(pixels))
    )
    return matrix.tocsr()


def blur(volume: np.ndarray, sigmas: tuple[float, float, float]) -> np.ndarray:
    """Gaussian blur [z, y, x] by `sigmas` in voxels."""
    for axis, sigma in enumerate(sigmas):
        if sigma > 0:
            volume = ndimage.correlate1d(volume, discrete_gaussian(sigma), axis=axis, mode="nearest")
    return volume


def discrete_gaussian(sigma: float) -> np.ndarray:
    """A kernel of odd length and unit sum, of exactly this variance also well below one voxel.

    exp(-s^2) I_n(s^2) (Lindeberg 1990); a sampled Gaussian of 0.4 voxels hardly blurs at all.
    """
    reach = int(np.ceil(4 * sigma)) + 1
    kernel = special.ive(np.abs(np.arange(-reach, reach + 1)), sigma**2)
    return kernel / kernel.sum()


def project(matrix: sparse.csr_array, image: np.ndarray) -> np.ndarray:
    """Line integrals float32 [angle * bin, slices] of an image [pixels, slices]."""
    return matrix @ image


def backproject(matrix: sparse.csr_array, sinogram: np.ndarray) -> np.ndarray:
    """The adjoint of `project`: [angle * bin, slices] -> [pixels, slices]."""
    return matrix.T @ sinogram


@dataclass(frozen=True)
class Scan:
    """Full-dose counts int32 [angle * bin, slices], what is `expected` of them (float32), and what a reconstruction
    knows of them."""

    counts: np.ndarray
    expected: np.ndarray
    factors: np.ndarray
    background: np.ndarray
    pixels: np.ndarray
    image_shape: tuple[int, int, int]


def view_angles(count: int) -> np.ndarray:
    """Angles over half a turn, radians, ordered subset by subset."""
    order = np.concatenate([np.arange(k, count, SUBSETS) for k in range(SUBSETS)])
    return order * np.pi / count


def acquire(activity: np.ndarray, mu: np.ndarray, setup: ScannerSetup, rng: np.random.Generator) -> Scan:
    """Measure activity (SUV) behind attenuation mu (1/mm), both [z, y, x], at full dose."""
    pixels = np.flatnonzero(ndimage.binary_dilation((mu > 0).any(axis=0), iterations=2))
    matrix = system_matrix(mu.shape[1:], setup.voxel_mm, view_angles(setup.angles), setup.psf_mm, pixels)
    axial = setup.axial_psf_mm / FWHM_PER_SIGMA / setup.slice_mm
    blurred = blur(activity, (axial, 0, 0))
    bins = max(mu.shape[1:])
    factors = np.exp(-project(matrix, columns(mu, pixels))) * _axial_sensitivity(mu.shape[0], setup)
    trues = factors * project(matrix, columns(blurred, pixels))
    scale = setup.trues_per_m * mu.shape[0] * setup.slice_mm * 1e-3 / float(trues.sum(dtype=np.float64))
    trues *= np.float32(scale)
    factors *= np.float32(scale)
    scatter = _scatter(trues, bins, setup)
    randoms = np.float32(setup.randoms_fraction * trues.mean(dtype=np.float64)) * np.ones_like(trues)
    expected = trues + np.float32(setup.scatter_error) * scatter + randoms
    counts = rng.poisson(expected).astype(np.int32)
    return Scan(counts, expected, factors, scatter + randoms, pixels, mu.shape)


def columns(volume: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """[z, y, x] -> [pixels, slices], contiguous."""
    return np.ascontiguousarray(volume.reshape(len(volume), -1)[:, pixels].T)


def _axial_sensitivity(slices: int, setup: ScannerSetup) -> np.ndarray:
    z = np.abs(np.linspace(-1, 1, slices))
    return (1 - (1 - setup.edge_sensitivity) * z**2).astype(np.float32)


def _scatter(trues: np.ndarray, bins: int, setup: ScannerSetup) -> np.ndarray:
    """Broad copy of the trues with the stated share of trues plus scatter."""
    width = setup.scatter_width_mm / FWHM_PER_SIGMA
    blocks = trues.reshape(-1, bins, trues.shape[1])
    coarse = blocks.reshape(blocks.shape[0], bins // 4, 4, -1).sum(axis=2)
    coarse = ndimage.gaussian_filter(coarse, (0, width / (4 * setup.voxel_mm), width / setup.slice_mm), mode="constant")
    broad = ndimage.zoom(coarse, (1, 4, 1), order=1, grid_mode=True, mode="nearest").reshape(trues.shape)
    share = setup.scatter_fraction / (1 - setup.scatter_fraction)
    return broad * np.float32(share * trues.sum(dtype=np.float64) / broad.sum(dtype=np.float64))


def thin(counts: np.ndarray, doses: tuple[float, ...], rng: np.random.Generator) -> dict[float, np.ndarray]:
    """Nested lower-dose counts by successive binomial thinning: {dose: int32 like counts}, falling doses from 1."""
    nested, now, dose_now = {}, counts, 1.0
    for dose in sorted(doses, reverse=True):
        if dose < dose_now:
            now = rng.binomial(now, dose / dose_now).astype(np.int32)
        nested[dose], dose_now = now, dose
    return nested


@dataclass(frozen=True)
class _Subset:
    """Projection and back-projection of a subset of the views, and what belongs to it: of counts, which `rows`."""

    projection: sparse.csr_array | torch.Tensor
    backprojection: sparse.csc_array | torch.Tensor
    factors: np.ndarray | torch.Tensor
    background: np.ndarray | torch.Tensor
    sensitivity: np.ndarray | torch.Tensor
    rows: slice


class Reconstruction:
    """OSEM with its own idea of the point spread, the matrices made once for all doses of a scan.

    device: where torch does the products, None for scipy. Counts are drawn on the CPU all the same, so that a seed
    gives the same scan on every machine; images agree to single precision.
    """

    def __init__(self, scan: Scan, setup: ScannerSetup, device: torch.device | None = None):
        self.scan, self.setup, self.device = scan, setup, device
        angles = view_angles(setup.angles).reshape(SUBSETS, -1)
        self.subsets = [self._subset(number, group) for number, group in enumerate(angles)]

    def _subset(self, number: int, angles: np.ndarray) -> _Subset:
        scan, setup = self.scan, self.setup
        matrix = system_matrix(scan.image_shape[1:], setup.voxel_mm, angles, setup.model_psf_mm, scan.pixels)
        rows = slice(number * matrix.shape[0], (number + 1) * matrix.shape[0])
        factors, background = scan.factors[rows], scan.background[rows]
        sensitivity = np.maximum(backproject(matrix, factors), 1e-6)
        products = matrix, matrix.T
        if self.device is not None:
            products = (_sparse_tensor(each, self.device) for each in products)
        return _Subset(*products, *map(self._placed, (factors, background, sensitivity)), rows)

    def _placed(self, array: np.ndarray) -> np.ndarray | torch.Tensor:
        return array if self.device is None else torch.from_numpy(array).to(self.device)

    def osem(self, counts: np.ndarray, dose: float) -> np.ndarray:
        """SUV float32 [z, y, x], unfiltered, from counts (or what is expected of them) at a dose (of full dose)."""
        scan = self.scan
        image = self._placed(np.full((len(scan.pixels), scan.image_shape[0]), 0.8, np.float32))
        measured = self._placed(counts.astype(np.float32))  # exact: a bin holds far fewer than 2^24
        for _ in range(self.setup.iterations):
            for subset in self.subsets:
                expected = subset.factors * (subset.projection @ image) + subset.background
                ratio = measured[subset.rows] / (dose * expected)
                image *= (subset.backprojection @ (subset.factors * ratio)) / subset.sensitivity
        volume = np.zeros((scan.image_shape[0], scan.image_shape[1] * scan.image_shape[2]), np.float32)
        volume[:, scan.pixels] = (image if self.device is None else image.cpu().numpy()).T
        return volume.reshape(scan.image_shape)

    def filtered(self, volume: np.ndarray) -> np.ndarray:
        """The post-filter, and the axial mixing of slices that rebinned oblique lines bring."""
        transaxial = self.setup.filter_mm / FWHM_PER_SIGMA / self.setup.voxel_mm
        axial = np.hypot(self.setup.filter_mm, self.setup.axial_filter_mm) / FWHM_PER_SIGMA / self.setup.slice_mm
        smooth = blur(volume, (axial, transaxial, transaxial))
        smooth[smooth < 1e-4] = 0
        return smooth


def _sparse_tensor(matrix: sparse.sparray, device: torch.device) -> torch.Tensor:
    """A torch CSR matrix, float32, of a scipy one."""
    rows = matrix.tocsr()
    parts = (torch.from_numpy(part) for part in (rows.indptr, rows.indices, rows.data))
    with warnings.catch_warnings():  # torch calls its sparse CSR support a beta; products are all that is used of it
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support")
        return torch.sparse_csr_tensor(*parts, size=rows.shape, check_invariants=False).to(device)
