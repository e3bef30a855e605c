"""The network that tells lost lesions from noise (model/loss_odds.py), fitted on the peaks of restored cases."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from MAPDiffLib.errors import InputError
from MAPDiffLib.model.loss_odds import FEATURES, LIMIT, LossOdds
from MAPDiffLib.restoration.losses import peak_features
from training.evaluation.fidelity import INTACT, RestoredCase

HIDDEN, EPOCHS, BATCH, RATE, DECAY = 12, 30, 512, 3e-3, 1e-3
HELD_OUT = 4  # of so many cases one, for what is said of the fit
LEAST_LOST = 20  # peaks at lost lesions: on fewer nothing is fitted

Examples = tuple[np.ndarray, np.ndarray]  # features [n, len(FEATURES)], whether something was lost there [n]


def fit_loss_odds(cases: Iterable[RestoredCase]) -> tuple[LossOdds, str]:
    """The network, and what it was fitted on and how well. InputError where too little was lost in these cases."""
    examples = [examples_of(case) for case in cases]
    lost = int(sum(labels.sum() for _, labels in examples))
    if lost < LEAST_LOST:
        raise InputError(
            f"of the odds' cases {lost} peaks are at lost lesions; {LEAST_LOST} are needed: make more --lesion-rich"
        )
    said = f"{sum(len(labels) for _, labels in examples)} peaks of {len(examples)} cases, {lost} at something lost"
    fitting = [each for number, each in enumerate(examples) if number % HELD_OUT]
    share = np.concatenate([labels for _, labels in fitting]).mean() if fitting else 0.0
    if 0 < share < 1:
        features, labels = map(np.concatenate, zip(*examples[::HELD_OUT], strict=True))
        entropy = _cross_entropy(_trained(fitting).of(features), labels)
        nothing = _cross_entropy(np.full(len(labels), np.log(share / (1 - share))), labels)
        said += f"; cross entropy {entropy:.4f} on every fourth case, held out of a fit, {nothing:.4f} without features"
    return _trained(examples), said


def examples_of(case: RestoredCase) -> Examples:
    """Of a case's peaks, but those at a lesion that the network left intact: of these nobody asks."""
    indices, features = peak_features(case.consistency)
    lesions, left = case.lesions_at(indices), case.left_by_network
    at, left = lesions >= 0, np.array([*left, np.nan])[lesions]  # the last is that of no lesion
    counted = ~at | (left < INTACT)
    return features[counted], at[counted]


def _trained(examples: Sequence[Examples]) -> LossOdds:
    """On the CPU, the same each time."""
    features, labels = map(np.concatenate, zip(*examples, strict=True))
    features = np.clip(features, -LIMIT, LIMIT)
    centre, scale = features.mean(axis=0), features.std(axis=0).clip(min=1e-3)
    inputs, targets = torch.from_numpy((features - centre) / scale).float(), torch.from_numpy(labels).float()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(len(FEATURES), HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1))
        optimiser = torch.optim.AdamW(network.parameters(), RATE, weight_decay=DECAY)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, EPOCHS)
        for _ in range(EPOCHS):
            for batch in torch.randperm(len(inputs)).split(BATCH):
                optimiser.zero_grad()
                binary_cross_entropy_with_logits(network(inputs[batch])[:, 0], targets[batch]).backward()
                optimiser.step()
            schedule.step()
    first, last = network[0], network[2]
    hidden = torch.cat([first.bias[:, None], first.weight], dim=1)
    return LossOdds(
        _rounded(centre), _rounded(scale), tuple(map(_rounded, hidden.tolist())),
        _rounded([*last.bias.tolist(), *last.weight[0].tolist()]),
    )  # fmt: skip


def _rounded(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(round(float(value), 4) for value in values)


def _cross_entropy(log_odds: np.ndarray, labels: np.ndarray) -> float:
    return float(np.mean(np.logaddexp(0, log_odds) - labels * log_odds))
