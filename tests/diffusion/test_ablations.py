"""What the ablations of the papers need: the mean as a target, an unbounded variance, the bound's weights,
and a learned uncertainty.
"""

import math

import pytest
import torch

from diffexp.diffusion import (
    VLB,
    Chain,
    Denoiser,
    EDMWeight,
    Eps,
    FixedSmall,
    Gaussian,
    Learned,
    LearnedRange,
    Mean,
    Objective,
    Uncertain,
    Uniform,
    V,
    bound,
    cosine,
    linear,
    sigmoid,
    with_snr,
)
from diffexp.diffusion.prediction import target
from diffexp.diffusion.variance import log_variance
from diffexp.randomness import generator
from diffexp.samplers import DDPM

SCHEDULES = [linear(), cosine(4000), sigmoid(100), with_snr(cosine(), zero_terminal=True)]


def steps(schedule, *shares):
    T = schedule.T
    return torch.tensor([max(1, round(u * T)) / T for u in shares], dtype=torch.float64).view(-1, 1, 1, 1)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=["linear", "cosine4000", "sigmoid100", "zero_snr"])
def test_the_mean_is_that_of_the_posterior(schedule):
    t = steps(schedule, 0, 0.001, 0.1, 0.5, 0.99, 1)
    level = schedule(t)
    q = schedule.posterior(t - 1 / schedule.T, t)
    a, b = target(Mean(schedule)(level), level)
    x0, noise = (torch.randn(6, 1, 2, 2, generator=generator(k), dtype=torch.float64) for k in (0, 1))
    x = level.alpha * x0 + level.sigma * noise
    torch.testing.assert_close(a * x0 + b * noise, q.c_x * x + q.c_0 * x0, rtol=1e-9, atol=1e-11)


def test_sampling_from_the_mean_is_sampling_from_eps():
    schedule = linear(50)
    draws = torch.randn(51, 2, 1, 4, 4, generator=generator(0), dtype=torch.float64)
    found = []
    for prediction in (Eps(), Mean(schedule)):
        net = Gaussian(schedule, prediction, FixedSmall(), means=(0.2,), stds=(0.5,))
        denoiser = Denoiser(net.double(), schedule, prediction, FixedSmall())
        found.append(DDPM(steps=50).sample(denoiser, schedule, lambda k: draws[k]))
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("schedule", SCHEDULES[:3], ids=["linear", "cosine4000", "sigmoid100"])
def test_an_unbounded_variance_is_an_offset_from_log_beta(schedule):
    t = steps(schedule, 0, 0.01, 0.5, 1)
    out = torch.randn(4, 2, 3, 3, generator=generator(0))
    F, frac = Learned().split(out, schedule, t)
    s = torch.where(t * schedule.T > 1.5, t - 1 / schedule.T, torch.zeros_like(t))
    want = schedule.posterior(s, t).beta.log() + out[:, 1:]
    torch.testing.assert_close(log_variance(schedule, s, t, frac), want.float(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(Learned().channels(frac, schedule, t), out[:, 1:], rtol=1e-4, atol=1e-4)
    assert torch.equal(F, out[:, :1])


def test_both_learned_variances_reach_the_same_bound():
    schedule, bits = cosine(100), []
    t = steps(schedule, 0, 0.02, 0.3, 0.7, 1)
    x0 = 0.2 + 0.5 * torch.randn(5, 1, 8, 8, generator=generator(0), dtype=torch.float64)
    noise = torch.randn(5, 1, 8, 8, generator=generator(1), dtype=torch.float64)
    for variance in (LearnedRange(), Learned()):
        net = Gaussian(schedule, V(), variance, means=(0.2,), stds=(0.5,)).double()
        losses = Objective(Uniform(), Chain(), 0.0, 1.0).at(
            Denoiser(net, schedule, V(), variance), x0, None, t.flatten(), noise
        )
        bits.append(losses.vlb)
    torch.testing.assert_close(*bits, rtol=1e-9, atol=1e-12)


def test_a_new_network_of_unbounded_variance_begins_with_the_large_one():
    _, frac = Learned().split(torch.zeros(1, 2, 1, 1), linear(), torch.tensor(0.5).double())
    assert float(frac) == 1.0


@pytest.mark.parametrize(
    ("i", "small", "large"),
    [
        (1, 0.599672, 0.272692),
        (10, 0.0789766, 0.0682240),
        (100, 0.0101784, 0.00999623),
        (500, 0.00551446, 0.00550973),
        (999, 0.0102045, 0.0102045),
    ],
)
def test_weights_of_the_bound_are_those_of_the_paper(i, small, large):
    level = linear()(torch.tensor((i + 1) / 1000, dtype=torch.float64))
    for variance, want in (("small", small), ("large", large)):
        on_eps = VLB(linear(), variance)(level, torch.ones(())) / level.snr
        assert float(on_eps) == pytest.approx(want, rel=2e-6)


@pytest.mark.parametrize("variance", ["small", "large"])
@pytest.mark.parametrize("schedule", SCHEDULES, ids=["linear", "cosine4000", "sigmoid100", "zero_snr"])
def test_weights_of_the_bound_are_the_ratio_of_divergence_and_error_at_every_step(schedule, variance):
    t = (torch.arange(2, schedule.T + 1, dtype=torch.float64) / schedule.T).view(-1, 1, 1, 1)
    zero, one = torch.zeros_like(t), torch.ones_like(t)
    frac = -1.0 if variance == "small" else 1.0
    at = [bound.step(schedule, zero, error, t, frac) for error in (zero, one)]
    weight = VLB(schedule, variance)(schedule(t), one).flatten()
    kept = weight > 1e-9 * at[0]  # what a difference of float64 numbers can show
    got = math.log(2) * (at[1] - at[0])
    torch.testing.assert_close(weight[kept], got[kept], rtol=1e-6, atol=1e-9)
    assert kept.float().mean() > 0.9


def test_the_uncertainty_becomes_the_logarithm_of_the_weighted_error():
    """At four levels of known error; then each level's loss is 1 + u, and its gradient on u is 0."""
    weighting, schedule = Uncertain(EDMWeight(0.5), features=64), cosine()
    t = steps(schedule, 0.05, 0.3, 0.6, 0.9)
    level, error = schedule(t), torch.tensor([4.0, 0.5, 0.1, 2.0])
    optimizer = torch.optim.Adam(weighting.parameters(), 0.03)
    assert not weighting.penalty(level).any()  # u = 0 at first
    for _ in range(600):
        u = weighting.penalty(level)
        loss = (error * (-u).exp() + u).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.testing.assert_close(weighting.penalty(level), error.log(), rtol=0, atol=0.02)


def test_the_loss_of_an_uncertainty_is_that_of_the_paper(tiny):
    weighting = Uncertain(EDMWeight(0.5), features=8)
    torch.nn.init.normal_(weighting.linear.weight, generator=generator(0))
    denoiser = Denoiser(tiny(), linear(), V(), FixedSmall())
    x0, noise = (torch.randn(4, 3, 8, 8, generator=generator(k)) for k in (0, 1))
    t = steps(linear(), 0.1, 0.4, 0.7, 1.0)
    got = Objective(weighting, Chain()).at(denoiser, x0, None, t.flatten(), noise)
    plain = Objective(EDMWeight(0.5), Chain()).at(denoiser, x0, None, t.flatten(), noise)
    u = weighting.penalty(linear()(t))
    torch.testing.assert_close(got.each, plain.each * (-u).exp() + u)
    got.loss.backward()
    assert weighting.linear.weight.grad.abs().max() > 0
