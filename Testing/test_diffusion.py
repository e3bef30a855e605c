"""The diffusion process against answers known by theory: the exact denoiser of a Gaussian."""

import math

import pytest
import torch

from MAPDiffLib.model.diffusion import PREDICTIONS, SCHEDULES, Diffusion, ancestral_sampler, deterministic_sampler

MEAN, DEVIATION = 1.5, 0.5


def exact_gaussian_denoiser(diffusion):
    """E[x_0 | x_t] for x_0 ~ N(MEAN, DEVIATION^2), by Bayes' rule for two Gaussians."""

    def denoise(x_t, t):
        alpha_bar = float(diffusion.alpha_bar[t])
        gain = math.sqrt(alpha_bar) * DEVIATION**2 / (alpha_bar * DEVIATION**2 + 1 - alpha_bar)
        return MEAN + gain * (x_t - math.sqrt(alpha_bar) * MEAN)

    return denoise


def noise(count=40_000):
    return torch.randn(count, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedule_falls_from_almost_one_to_almost_zero(schedule):
    alpha_bar = Diffusion(schedule=schedule).alpha_bar
    assert alpha_bar.shape == (1000,)
    assert (alpha_bar.diff() < 0).all()
    assert alpha_bar[0] > 0.999 and 0 < alpha_bar[-1] < 1e-4


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_deterministic_sampler_reproduces_mean_and_deviation_of_a_gaussian(schedule):
    diffusion = Diffusion(schedule=schedule)
    steps = list(range(999, -1, -3))
    *_, (t, x0) = deterministic_sampler(diffusion, exact_gaussian_denoiser(diffusion), noise(), steps)
    assert t == 0
    assert x0.mean() == pytest.approx(MEAN, abs=0.01)
    assert x0.std() == pytest.approx(DEVIATION, rel=0.02)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_ancestral_sampler_of_all_steps_reproduces_mean_and_deviation_of_a_gaussian(schedule):
    diffusion = Diffusion(schedule=schedule)
    generator = torch.Generator().manual_seed(4)
    *_, (_, x0) = ancestral_sampler(
        diffusion, exact_gaussian_denoiser(diffusion), noise(), list(range(999, -1, -1)), generator
    )
    assert x0.mean() == pytest.approx(MEAN, abs=0.01)
    assert x0.std() == pytest.approx(DEVIATION, rel=0.02)


def test_deterministic_sampler_follows_the_closed_form_flow_of_a_gaussian():
    """The probability flow maps x_T to mean + deviation ratio * distance: checked at a single point, fine steps."""
    diffusion = Diffusion()
    start, steps = torch.tensor([0.7]), list(range(999, -1, -1))
    *_, (_, x0) = deterministic_sampler(diffusion, exact_gaussian_denoiser(diffusion), start, steps)
    assert x0.item() == pytest.approx(MEAN + DEVIATION * 0.7, abs=5e-3)


def test_a_start_in_the_middle_of_the_chain_stays_on_the_distribution():
    diffusion = Diffusion()
    x0 = MEAN + DEVIATION * noise()
    x_t = diffusion.noised(x0, 300, torch.randn(len(x0), generator=torch.Generator().manual_seed(5)))
    steps = list(range(300, -1, -2))
    *_, (_, result) = deterministic_sampler(diffusion, exact_gaussian_denoiser(diffusion), x_t, steps)
    assert result.mean() == pytest.approx(MEAN, abs=0.01)
    assert result.std() == pytest.approx(DEVIATION, rel=0.02)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_x0_is_recovered_from_the_target_of_every_prediction_type(prediction):
    diffusion = Diffusion(prediction=prediction)
    x0, eps = torch.randn(3, 1, 4, 4, 4, dtype=torch.float64), torch.randn(3, 1, 4, 4, 4, dtype=torch.float64)
    t = torch.tensor([1, 300, 700])
    x_t = diffusion.noised(x0, t, eps)
    assert torch.allclose(diffusion.x0_from(diffusion.target(x0, eps, t), x_t, t), x0, atol=1e-5)


def test_the_forward_marginal_has_unit_variance_for_unit_data():
    x_t = Diffusion().noised(noise(), 400, torch.randn(40_000, generator=torch.Generator().manual_seed(6)))
    assert x_t.std() == pytest.approx(1.0, rel=0.02)


@pytest.mark.parametrize("steps", [[], [5, 5], [3, 4], [1000, 2], [4, -1]])
def test_timesteps_that_do_not_fall_within_the_chain_are_refused(steps):
    with pytest.raises(ValueError, match="fall strictly"):
        next(deterministic_sampler(Diffusion(), lambda x, t: x, torch.zeros(1), steps))


@pytest.mark.parametrize("choice", [{"schedule": "sigmoid"}, {"prediction": "score"}, {"timesteps": 1}])
def test_unknown_choices_are_refused_with_what_is_possible(choice):
    with pytest.raises(ValueError, match="needed"):
        Diffusion(**choice)
