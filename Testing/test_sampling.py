"""The path of a restoration, with a network whose answers are known."""

from __future__ import annotations

import pytest
import torch

from MAPDiffLib.model.diffusion import Diffusion
from MAPDiffLib.restoration.intensity import Intensity
from MAPDiffLib.restoration.progress import Progress
from MAPDiffLib.restoration.sampling import MIRRORS, ScanDenoiser, descend, draw_noise, evaluations_of, first_estimate

SHAPE, TIMESTEPS, SEED = (4, 6, 8), [999, 131, 38], 5
DIFFUSION, INTENSITY = Diffusion(prediction="x0"), Intensity(scale=100.0)
SCAN = 100 * torch.rand(SHAPE, generator=torch.Generator().manual_seed(0))


class Answers:
    """In place of a TiledNetwork: answers each call with a constant activity, and keeps what it was shown."""

    volume_device, body = torch.device("cpu"), torch.ones(SHAPE, dtype=torch.bool)

    def __init__(self, activities):
        self.activities, self.shown = list(activities), []

    def __call__(self, x_t, scan, t, dose, on_share, cancelled, mirrored):
        self.shown.append((x_t.flip(mirrored), scan.flip(mirrored), t, mirrored))
        on_share(1.0)
        return torch.full(SHAPE, float(INTENSITY.to_network(torch.tensor(self.activities[len(self.shown) - 1]))))


def along(network, samples):
    """({timestep: mean activity of x0_hat}, the spread of the first, fractions told)"""
    told = []
    progress = Progress(lambda event: told.append(event["fraction"]), evaluations_of(TIMESTEPS, samples), "full dose")
    denoise = ScanDenoiser(network, DIFFUSION, INTENSITY.to_network(SCAN), 0.05, progress)
    first = first_estimate(denoise, INTENSITY, TIMESTEPS[0], samples, SEED)
    means = {t: INTENSITY.to_physical(x0_hat).mean().item() for t, x0_hat in descend(denoise, first, TIMESTEPS)}
    return means, first.spread, told


def test_the_first_estimate_is_the_mean_of_the_samples_in_the_scans_units():
    means, spread, told = along(Answers([80.0, 120.0, 190.0, 50.0, 30.0]), samples=3)
    assert means == pytest.approx({999: 130.0, 131: 50.0, 38: 30.0}, rel=1e-4)
    assert spread.mean().item() == pytest.approx(torch.tensor([80.0, 120.0, 190.0]).std().item(), rel=1e-4)
    assert told == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0]) and evaluations_of(TIMESTEPS, 3) == 5


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
    assert along(Answers([80.0, 50.0, 30.0]), samples=1)[1] is None


def test_a_path_of_one_timestep_is_its_first_estimate():
    denoise = ScanDenoiser(Answers([80.0, 120.0]), DIFFUSION, INTENSITY.to_network(SCAN), 0.05)
    first = first_estimate(denoise, INTENSITY, 999, 2, SEED)
    ((t, x0_hat),) = descend(denoise, first, [999])
    assert t == 999 and torch.equal(x0_hat, first.x0_hat)
