"""The small network that tells a place where a restoration lost something from one where noise alone was at work: a
bundle's, since each model loses something else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from MAPDiffLib.model.json_checks import check_keys, items, so_many

# What it is told of a place (restoration/losses.py); away: how the restored image looks so many mm from it.
AWAY_MM = (8.0, 16.0, 28.0)
AROUND = tuple(f"{what} {away:g} mm away" for away in AWAY_MM for what in ("mean", "hottest", "spread"))
FEATURES = ("z", "noise", "activity", *AROUND)
MOST_HIDDEN, LARGEST = 100, 1000.0
LIMIT = 15.0  # of a feature: what is beyond is alike


@dataclass(frozen=True)
class LossOdds:
    """Fitted by `mapdiff-train fidelity --fit --odds-cases`; the defaults, for bundles that say nothing, go by z alone.

    Features f -> output[0] + output[1:] . max(0, hidden . (1, (f - centre) / scale)), the logarithm of the odds.
    """

    centre: tuple[float, ...] = (0.0,) * len(FEATURES)
    scale: tuple[float, ...] = (1.0,) * len(FEATURES)
    hidden: tuple[tuple[float, ...], ...] = ((0.0, 1.0, *(0.0,) * (len(FEATURES) - 1)),)
    output: tuple[float, ...] = (-7.0, 1.0)

    def of(self, features: np.ndarray) -> np.ndarray:
        """Log-odds [n] of features [n, len(FEATURES)]."""
        scaled = (np.clip(features, -LIMIT, LIMIT) - self.centre) / self.scale
        hidden, output = np.array(self.hidden), np.array(self.output)
        return np.maximum(scaled @ hidden[:, 1:].T + hidden[:, 0], 0) @ output[1:] + output[0]


def parse_loss_odds(content: Mapping) -> LossOdds:
    """Of the object "loss_odds" in bundle.json. BundleError unless all is there, known, of its length and range."""
    check_keys("loss_odds", content, set(LossOdds.__dataclass_fields__))
    hidden = items("loss_odds.hidden", content["hidden"], MOST_HIDDEN, " lists")
    any_size, told = (-LARGEST, LARGEST), len(FEATURES)
    return LossOdds(
        so_many("loss_odds.centre", content["centre"], told, *any_size),
        so_many("loss_odds.scale", content["scale"], told, 1e-6, LARGEST),
        tuple(so_many(f"loss_odds.hidden[{k}]", row, 1 + told, *any_size) for k, row in enumerate(hidden)),
        so_many("loss_odds.output", content["output"], 1 + len(hidden), *any_size),
    )
