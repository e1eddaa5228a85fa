"""q(x_s | x_t, x0) of any pair against Bayes' rule, the DDPM tables, and respaced chains."""

import math

import pytest
import torch

from diffexp.diffusion import cosine, linear, sigmoid, with_snr
from diffexp.diffusion.variance import FixedLarge, FixedSmall, LearnedRange, log_variance

SCHEDULES = {
    "linear": linear(),
    "cosine": cosine(),
    "sigmoid": sigmoid(T=50),
    "zero": with_snr(linear(), zero_terminal=True),
}


def tensor(x):
    return torch.tensor(x, dtype=torch.float64)


def alpha_bars(T=1000):
    beta = torch.linspace(1e-4, 0.02, T, dtype=torch.float64)
    return beta, (1 - beta).cumprod(0)


def pairs(schedule):
    T = schedule.T
    s, t = torch.arange(1, T, dtype=torch.float64) / T, torch.arange(2, T + 1, dtype=torch.float64) / T
    wide = tensor([[1 / T, 1], [0.1, 0.35], [0.5, 1], [0.3333, 0.7777], [0.98, 0.9999], [0.3 / T, 1.0]])
    return torch.cat([s, wide[:, 0]]), torch.cat([t, wide[:, 1]])


@pytest.mark.parametrize("name", SCHEDULES)
def test_it_is_bayes_rule_of_two_gaussians(name):
    schedule = SCHEDULES[name]
    s, t = pairs(schedule)
    q, at_s, at_t = schedule.posterior(s, t), schedule(s), schedule(t)
    r = at_t.alpha / at_s.alpha  # x_t | x_s ~ N(r x_s, step), x_s | x0 ~ N(α_s x0, σ_s²)
    step = at_t.sigma**2 - r**2 * at_s.sigma**2
    var = 1 / (1 / at_s.sigma**2 + r**2 / step)
    close = {"rtol": 1e-9, "atol": 1e-12}
    torch.testing.assert_close(q.beta, step, **close)
    torch.testing.assert_close(q.var, var, **close)
    torch.testing.assert_close(q.c_x, var * r / step, **close)
    torch.testing.assert_close(q.c_0, var * at_s.alpha / at_s.sigma**2, **close)


@pytest.mark.parametrize("name", SCHEDULES)
def test_its_mean_is_that_of_x_s_and_its_variance_that_of_the_pair(name):
    schedule = SCHEDULES[name]
    s, t = pairs(schedule)
    q, at_s, at_t = schedule.posterior(s, t), schedule(s), schedule(t)
    torch.testing.assert_close(q.c_x * at_t.alpha + q.c_0, at_s.alpha, rtol=1e-10, atol=1e-14)
    torch.testing.assert_close(q.c_x**2 * at_t.sigma**2 + q.var, at_s.sigma**2, rtol=1e-10, atol=1e-14)


def test_from_pure_noise_nothing_is_learned_of_x_s_but_x0():
    q = SCHEDULES["zero"].posterior(tensor(0.4), tensor(1.0))
    at = SCHEDULES["zero"](tensor(0.4))
    assert q.c_x == 0 and float(q.beta) == pytest.approx(1, abs=1e-15)
    assert float(q.c_0) == pytest.approx(float(at.alpha), rel=1e-14)
    assert float(q.var) == pytest.approx(float(at.sigma**2), rel=1e-14)


def test_the_last_step_gives_x0_itself():
    q = linear().posterior(tensor(0.0), tensor(0.3))
    assert q.c_x == 0 and q.var == 0 and float(q.c_0) == pytest.approx(1, rel=1e-14)


def test_chain_steps_are_the_tables_of_ddpm():
    beta, bar = alpha_bars()
    i = torch.arange(1000, dtype=torch.float64)
    q = linear().posterior(i / 1000, (i + 1) / 1000)
    prev = torch.cat([torch.ones(1, dtype=torch.float64), bar[:-1]])
    close = {"rtol": 1e-10, "atol": 1e-14}
    torch.testing.assert_close(q.beta, beta, **close)
    torch.testing.assert_close(q.var, beta * (1 - prev) / (1 - bar), **close)
    torch.testing.assert_close(q.c_0, beta * prev.sqrt() / (1 - bar), **close)
    torch.testing.assert_close(q.c_x, (1 - beta).sqrt() * (1 - prev) / (1 - bar), **close)


def test_ten_spaced_steps_are_those_of_a_respaced_chain():
    tau = [0, 111, 222, 333, 444, 555, 666, 777, 888, 999]
    _, bar = alpha_bars()
    published = [
        1e-4, 0.126307638, 0.316843618, 0.466119064, 0.583005494, 0.674480639, 0.746029767, 0.801962592,
        0.845663378, 0.879788230,
    ]  # fmt: skip
    t = (tensor(tau) + 1) / 1000
    s = torch.cat([torch.zeros(1, dtype=torch.float64), t[:-1]])
    q = linear().posterior(s, t)
    torch.testing.assert_close(q.beta, tensor(published), rtol=0, atol=6e-10)
    now = bar[tau]
    prev = torch.cat([torch.ones(1, dtype=torch.float64), now[:-1]])
    beta = 1 - now / prev
    torch.testing.assert_close(q.c_0, beta * prev.sqrt() / (1 - now), rtol=1e-10, atol=0)
    torch.testing.assert_close(q.c_x, (1 - beta).sqrt() * (1 - prev) / (1 - now), rtol=1e-10, atol=1e-15)
    torch.testing.assert_close(q.var, beta * (1 - prev) / (1 - now), rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize(
    ("frac", "published"),
    [
        (-1.0, [0.599672, 0.0789766, 0.0101784, 0.00551446, 0.0102045]),
        (1.0, [0.272692, 0.0682240, 0.00999623, 0.00550973, 0.0102045]),
    ],
)
def test_the_weights_of_the_bound_are_the_published_ones(frac, published):
    i = tensor([1, 10, 100, 500, 999])
    s, t = i / 1000, (i + 1) / 1000
    schedule = linear()
    beta, level = schedule.posterior(s, t).beta, schedule(t)
    var = log_variance(schedule, s, t, frac).exp()
    weight = beta**2 / (2 * var * (1 - beta) * level.sigma**2)
    torch.testing.assert_close(weight, tensor(published), rtol=1e-5, atol=0)


def test_the_first_step_borrows_the_variance_of_the_second():
    schedule = linear()
    beta, bar = alpha_bars()
    second = float(beta[1] * (1 - bar[0]) / (1 - bar[1]))
    for frac in (-1.0, 1.0):  # fixed small, fixed large
        fixed = log_variance(schedule, tensor(0.0), tensor(1 / 1000), frac)
        assert math.exp(fixed) == pytest.approx(second, rel=1e-11)
    learned = log_variance(schedule, tensor(0.0), tensor(1 / 1000), tensor([-1.0, 1.0])).exp()
    assert learned.tolist() == pytest.approx([second, 1e-4], rel=1e-11)


def test_a_learned_fraction_goes_between_the_bounds_in_the_logarithm():
    schedule, s, t = cosine(), tensor(0.25), tensor(0.5)
    frac = torch.tensor([-1.0, -0.5, 0.0, 1.0]).view(4, 1, 1, 1)
    q = schedule.posterior(s, t)
    low, high = q.var.log(), q.beta.log()
    expected = torch.stack([low, 0.75 * low + 0.25 * high, (low + high) / 2, high]).float()
    found = log_variance(schedule, s, t, frac).flatten()
    torch.testing.assert_close(found.float(), expected, rtol=1e-6, atol=1e-6)


def test_variances_say_how_many_channels_they_need():
    out = torch.arange(24.0).view(1, 6, 2, 2)
    s = torch.ones(())
    first, frac = LearnedRange().split(out, linear(), s)
    assert torch.equal(first, out[:, :3]) and torch.equal(frac, out[:, 3:])
    assert FixedSmall().split(out, linear(), s) == (out, -1.0)
    assert FixedLarge().split(out, linear(), s) == (
        out,
        1.0,
    )
    assert (LearnedRange.outputs, FixedSmall.outputs, FixedLarge.outputs) == (2, 1, 1)
