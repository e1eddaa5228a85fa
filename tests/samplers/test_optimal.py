"""Times and variances made for one model, where the best are known."""

import itertools
import math
from typing import get_args

import pytest
import torch
from oracle import flow, gaussian

from diffexp.diffusion import V, cosine, linear
from diffexp.errors import ConfigError
from diffexp.samplers import DDIM, DDPM, Spacing
from diffexp.samplers.optimal import fine, local_errors, second_moments, shortest

MEAN, STD = 0.2, 0.5


def noises(shape):
    return lambda k: torch.randn(shape, generator=torch.Generator().manual_seed(k), dtype=torch.float64)


@pytest.mark.parametrize("steps", [1, 2, 3, 5])
def test_the_shortest_path_is_that_of_all(steps):
    errors = torch.rand(7, 7, generator=torch.Generator().manual_seed(steps), dtype=torch.float64)
    errors[torch.tril(torch.ones(7, 7)).bool()] = torch.inf
    found = shortest(errors, steps)

    def cost(path):
        return float(sum(errors[a, b] for a, b in itertools.pairwise(path)))

    every = [(0, *inner, 6) for inner in itertools.combinations(range(1, 6), steps - 1)]
    assert found[0] == 0 and found[-1] == 6 and len(found) == steps + 1
    assert cost(found) == pytest.approx(min(map(cost, every)))


@pytest.mark.parametrize("schedule", [linear(), cosine()], ids=["linear", "cosine"])
@pytest.mark.parametrize("steps", [4, 8])
def test_on_a_gaussian_no_spacing_has_a_smaller_error(schedule, steps):
    denoiser, x = gaussian(schedule, V(), means=MEAN, std=STD), noises((16, 1, 2, 2))(0)
    times = fine(schedule)
    path = shortest(local_errors(denoiser, schedule, times, x), steps)
    spacing = tuple((times[path[:-1]] * schedule.T).tolist())

    def error(sampler):
        start = sampler.grid(schedule)[0]
        got = sampler.sample(denoiser, schedule, lambda k: x)
        return float((got - flow(schedule, x, start, MEAN, STD)).square().mean().sqrt())

    ours = error(DDIM(spacing=spacing))
    named = {s: error(DDIM(steps=steps, spacing=s)) for s in get_args(Spacing)}
    whole = {s: e for s, e in named.items() if float(DDIM(steps=steps, spacing=s).grid(schedule)[0]) == 1}
    assert ours < 1.02 * min(whole.values()), (ours, whole)


def test_second_moments_are_those_of_the_gaussian():
    schedule, n = linear(), 40_000
    denoiser, z = gaussian(schedule, V(), means=MEAN, std=STD), noises((1, 1, n, 1))
    found = second_moments(denoiser, schedule, MEAN + STD * z(1), z(2), None, 5)
    for i, gamma in enumerate(found, 1):
        level = schedule(torch.tensor(i / 5, dtype=torch.float64))
        want = float(level.sigma**2 / (level.alpha**2 * STD**2 + level.sigma**2))
        assert gamma == pytest.approx(want, rel=4 * math.sqrt(2 / n))


def test_the_analytic_variance_gives_the_exact_data():
    """Each step then has the mean and variance of the data, at any number of steps."""
    schedule, n = linear(), 30_000
    t = torch.arange(1, 1001, dtype=torch.float64) / 1000
    level = schedule(t)
    gammas = tuple((level.sigma**2 / (level.alpha**2 * STD**2 + level.sigma**2)).tolist())
    denoiser = gaussian(schedule, V(), means=MEAN, std=STD)
    for steps in (10, 50):
        sampler = DDPM(steps=steps, variance="analytic", gammas=gammas, end="first")
        x = sampler.sample(denoiser, schedule, noises((1, 1, n, 1)))
        assert float(x.mean()) == pytest.approx(MEAN, abs=5 * STD / math.sqrt(n))
        assert float(x.std()) == pytest.approx(STD, rel=0.015)
    small = DDPM(steps=10, variance="fixed_small", end="first").sample(
        denoiser, schedule, noises((1, 1, n, 1))
    )
    assert float(small.std()) < 0.9 * STD


def test_what_needs_a_checkpoint_says_so():
    with pytest.raises(ConfigError, match=r"made for a checkpoint[\s\S]*task\.ckpt"):
        DDIM(spacing="optimal").grid(linear())
    with pytest.raises(ConfigError, match=r"measured on a checkpoint[\s\S]*task\.ckpt"):
        DDPM(variance="analytic").calls(linear())
