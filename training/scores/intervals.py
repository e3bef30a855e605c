"""What a handful of subjects can say: bootstrap intervals over subjects, and a paired test between two methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

RESAMPLES = 5000


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float


def bootstrap(values: Sequence[float]) -> Interval:
    """The mean over subjects, and the percentile interval of 5,000 resamplings of the subjects (fixed seed)."""
    values = np.asarray(values, float)
    draws = np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.quantile(values[draws].mean(axis=1), [0.025, 0.975])
    return Interval(float(values.mean()), float(low), float(high))


@dataclass(frozen=True)
class Comparison:
    """A minus B over the same subjects: mean difference with its interval, and Wilcoxon's signed-rank p (two-sided)."""

    difference: Interval
    p: float
    subjects: int


def compare(a: Sequence[float], b: Sequence[float]) -> Comparison:
    """Paired comparison of two methods' figures, subject by subject."""
    differences = np.asarray(a, float) - np.asarray(b, float)
    p = 1.0 if not differences.any() else float(stats.wilcoxon(differences).pvalue)
    return Comparison(bootstrap(differences), p, len(differences))
