"""The path of a restoration, with a network whose answers are known."""

from __future__ import annotations

import pytest
import torch

from MAPDiffLib.model.diffusion import Diffusion
from MAPDiffLib.restoration.intensity import Intensity
from MAPDiffLib.restoration.sampling import MIRRORS, draw_noise, evaluate_path, evaluations_of

SHAPE, TIMESTEPS, SEED = (4, 6, 8), [999, 131, 38], 5
DIFFUSION, INTENSITY = Diffusion(prediction="x0"), Intensity(scale=100.0)
SCAN = 100 * torch.rand(SHAPE, generator=torch.Generator().manual_seed(0))


class Answers:
    """In place of a TiledNetwork: answers each call with a constant activity, and keeps what it was shown."""

    home, body = torch.device("cpu"), torch.ones(SHAPE, dtype=torch.bool)

    def __init__(self, activities):
        self.activities, self.shown = list(activities), []

    def __call__(self, x_t, scan, t, dose, on_tile, cancelled, mirrored):
        self.shown.append((x_t.flip(mirrored), scan.flip(mirrored), t, mirrored))
        on_tile(1.0)
        return torch.full(SHAPE, float(INTENSITY.to_network(torch.tensor(self.activities[len(self.shown) - 1]))))


def along(network, samples):
    progress = []
    found = list(
        evaluate_path(network, DIFFUSION, SCAN, INTENSITY, 0.05, TIMESTEPS, samples, SEED, on_progress=progress.append)
    )
    return found, progress


def test_the_first_evaluation_is_the_mean_of_the_samples_in_the_scans_units():
    found, progress = along(Answers([80.0, 120.0, 190.0, 50.0, 30.0]), samples=3)
    assert [evaluation.t for evaluation in found] == TIMESTEPS
    assert [evaluation.x0_hat.mean().item() for evaluation in found] == pytest.approx([130.0, 50.0, 30.0], rel=1e-4)
    for evaluation in found:
        assert evaluation.spread.mean().item() == pytest.approx(
            torch.tensor([80.0, 120.0, 190.0]).std().item(), rel=1e-4
        )
    assert progress == pytest.approx([1 / 5] * 5) and evaluations_of(TIMESTEPS, 3) == 5


def test_each_sample_has_its_own_noise_and_mirror_and_the_path_goes_on_from_their_mean():
    network = Answers([80.0, 120.0, 50.0, 30.0])
    along(network, samples=2)
    states, scans, times, mirrored = zip(*network.shown, strict=True)
    assert times == pytest.approx([0.999, 0.999, 0.131, 0.038]) and mirrored == MIRRORS[:4]
    condition = INTENSITY.to_network(SCAN)
    for scan in scans:
        assert torch.equal(scan, condition)
    start, other = (DIFFUSION.noised(condition, 999, draw_noise(SHAPE, SEED, number)) for number in (0, 1))
    assert torch.equal(states[0], start) and torch.equal(states[1], other) and not torch.equal(start, other)
    mean, then = (INTENSITY.to_network(torch.full(SHAPE, activity)) for activity in (100.0, 50.0))
    at_131 = DIFFUSION.step(start, mean, 999, 131)
    assert torch.allclose(states[2], at_131, atol=1e-5)
    assert torch.allclose(states[3], DIFFUSION.step(at_131, then, 131, 38), atol=1e-5)


def test_a_single_sample_has_no_spread():
    found, _ = along(Answers([80.0, 50.0, 30.0]), samples=1)
    assert [evaluation.spread for evaluation in found] == [None] * 3
