"""Six radiomics features of a region, as pyradiomics defines them (no release of it builds on the Pythons used here).

The definitions are those of the IBSI manual (arXiv 1612.07003) in pyradiomics' own choices: 100 bins between the
region's minimum and maximum, grey levels from 1, neighbours at distance 1 in the 13 directions of a 26-neighbourhood,
matrix features averaged over the directions.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from MAPDiffLib.errors import InputError

BINS = 100
FEATURES = (
    "RootMeanSquared", "90Percentile", "Median", "HighGrayLevelRunEmphasis", "ZonePercentage", "JointAverage",
)  # fmt: skip
DIRECTIONS = tuple(step for step in product((-1, 0, 1), repeat=3) if step > (0, 0, 0))  # one of each opposite pair


def radiomics(voxels: np.ndarray, region: np.ndarray, bins: int = BINS) -> dict[str, float]:
    """{feature: value} of the voxels [z, y, x] inside the region (bool, same shape). InputError for an empty region.

    A region without two neighbouring voxels has no JointAverage: NaN.
    """
    if voxels.shape != region.shape or not region.any():
        raise InputError(f"the region {region.shape} is empty or not on the image's grid {voxels.shape}")
    box = tuple(slice(hits.min(), hits.max() + 1) for hits in np.nonzero(region))
    voxels, region = voxels[box].astype(np.float64), region[box].astype(bool)
    values = voxels[region]
    levels = grey_levels(voxels, region, bins)
    first_order = (np.sqrt(np.mean(values**2)), np.percentile(values, 90), np.median(values))
    texture = (_high_level_runs(levels), _zones(levels) / len(values), _joint_average(levels))
    return dict(zip(FEATURES, map(float, first_order + texture), strict=True))


def grey_levels(voxels: np.ndarray, region: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Levels 1 to `bins` of equal width between the region's minimum and maximum; 0 outside the region."""
    edges = np.histogram(voxels[region], bins)[1]
    edges[-1] += 1  # the maximum belongs to the last bin
    return np.where(region, np.digitize(voxels, edges), 0)


def _neighbours(levels: np.ndarray, step: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Two views of the same shape: voxels that have a neighbour at `step` in the array, and those neighbours."""
    here = tuple(slice(max(0, -s), n - max(0, s)) for s, n in zip(step, levels.shape, strict=True))
    there = tuple(slice(max(0, s), n - max(0, -s)) for s, n in zip(step, levels.shape, strict=True))
    return levels[here], levels[there]


def _joint_average(levels: np.ndarray) -> float:
    """GLCM: the mean level of a voxel in a pair of neighbours, pairs counted both ways."""
    means = []
    for step in DIRECTIONS:
        here, there = _neighbours(levels, step)
        pair = (here > 0) & (there > 0)
        if pair.any():
            means.append((here[pair].mean() + there[pair].mean()) / 2)
    return float(np.mean(means)) if means else float("nan")


def _high_level_runs(levels: np.ndarray) -> float:
    """GLRLM: the mean of level^2 over runs; a run is counted at its first voxel, whose predecessor differs."""
    emphases = []
    for step in DIRECTIONS:
        starts = levels > 0
        here, there = _neighbours(levels, step)
        _neighbours(starts, step)[1][here == there] = False
        emphases.append(np.mean(levels[starts].astype(float) ** 2))
    return float(np.mean(emphases))


def _zones(levels: np.ndarray) -> int:
    """GLSZM: the number of 26-connected zones of one level."""
    number = np.arange(levels.size).reshape(levels.shape)
    links = []
    for step in DIRECTIONS:
        here, there = _neighbours(levels, step)
        same = (here == there) & (here > 0)
        from_number, to_number = _neighbours(number, step)
        links.append(np.stack([from_number[same], to_number[same]]))
    rows, columns = np.concatenate(links, axis=1)
    graph = coo_array((np.ones(len(rows), bool), (rows, columns)), shape=(levels.size, levels.size))
    _, labels = connected_components(graph, directed=False)
    return len(np.unique(labels[levels.ravel() > 0]))
