"""The mean of mirrored samples, with a network whose answers are known."""

from __future__ import annotations

import pytest
import torch

from MAPDiffLib.model.diffusion import Diffusion
from MAPDiffLib.restoration.intensity import Intensity
from MAPDiffLib.restoration.progress import Progress
from MAPDiffLib.restoration.sampling import MIRRORS, ScanDenoiser, draw_noise, mean_of_samples

SHAPE, SEED, NOISE = (4, 6, 8), 5, (0.2, 1.5, 2.0)
DIFFUSION, INTENSITY = Diffusion(prediction="x0"), Intensity(scale=100.0)
SCAN = 100 * torch.rand(SHAPE, generator=torch.Generator().manual_seed(0))


class Answers:
    """In place of a TiledNetwork: answers each call with a constant activity, and keeps what it was shown."""

    volume_device, body = torch.device("cpu"), torch.ones(SHAPE, dtype=torch.bool)

    def __init__(self, activities):
        self.activities, self.shown = list(activities), []

    def __call__(self, x_t, scan, t, noise, on_share, cancelled, mirrored):
        self.shown.append((x_t.flip(mirrored), scan.flip(mirrored), t, mirrored, noise))
        on_share(1.0)
        return torch.full(SHAPE, float(INTENSITY.to_network(torch.tensor(self.activities[len(self.shown) - 1]))))


def sampled(network, samples):
    """(mean, spread, fractions told)"""
    told = []
    progress = Progress(lambda event: told.append(event["fraction"]), samples, "full dose")
    denoise = ScanDenoiser(network, DIFFUSION, INTENSITY.to_network(SCAN), NOISE, progress)
    return *mean_of_samples(denoise, INTENSITY, samples, SEED), told


def test_the_estimate_is_the_mean_of_the_samples_in_the_scans_units_and_the_spread_their_deviation():
    mean, spread, told = sampled(Answers([80.0, 120.0, 190.0]), samples=3)
    assert mean.mean().item() == pytest.approx(130.0, rel=1e-4)
    assert spread.mean().item() == pytest.approx(torch.tensor([80.0, 120.0, 190.0]).std().item(), rel=1e-4)
    assert told == pytest.approx([1 / 3, 2 / 3, 1.0], abs=1e-4)


def test_each_sample_has_its_own_noise_and_mirror_and_is_told_the_scan_s_noise():
    network = Answers([80.0, 120.0, 50.0])
    sampled(network, samples=3)
    states, scans, times, mirrored, told = zip(*network.shown, strict=True)
    assert times == pytest.approx([0.999] * 3) and mirrored == MIRRORS[:3] and set(told) == {NOISE}
    condition = INTENSITY.to_network(SCAN)
    for number, (state, scan) in enumerate(zip(states, scans, strict=True)):
        assert torch.equal(scan, condition)
        assert torch.equal(state, DIFFUSION.noised(condition, 999, draw_noise(SHAPE, SEED, number)))
    assert not torch.equal(states[0], states[1])


def test_a_single_sample_has_no_spread():
    assert sampled(Answers([80.0]), samples=1)[1] is None
