"""The bound of a Gaussian, where every term has a closed form."""

import math

import pytest
import torch

from diffexp.diffusion import bound, cosine, linear, sigmoid
from diffexp.diffusion.variance import log_variance

M, S = 0.2, 0.5  # x0 ~ N(M, S²)


def chain(schedule):
    i = torch.arange(1, schedule.T + 1, dtype=torch.float64).view(-1, 1, 1, 1)
    return i / schedule.T


def uncertainty(schedule, t):
    """Var[x0 | x_t]."""
    level = schedule(t)
    return S**2 * level.sigma**2 / (level.alpha**2 * S**2 + level.sigma**2)


def total(schedule, frac_of):
    """L_0 + Σ L_t + L_T in nats with the optimal mean; L_0 by the density, not the bins."""
    t = chain(schedule)
    unknown = uncertainty(schedule, t)
    frac = frac_of(t, unknown)
    error = unknown.sqrt()  # the KL is quadratic in the error: its mean is its value there
    steps = bound.step(schedule, torch.zeros_like(error), error, t, frac) * math.log(2)
    log_var = log_variance(schedule, t - 1 / schedule.T, t, frac)[0].squeeze()
    first = 0.5 * (math.log(2 * math.pi) + log_var + unknown[0].squeeze() / log_var.exp())
    end = schedule(torch.ones((), dtype=torch.float64))
    last = 0.5 * (end.alpha**2 * (M**2 + S**2) + end.sigma**2 - 1 - 2 * end.sigma.log())
    return float(first + steps[1:].sum() + last)


def optimal(schedule):
    """The frac of σ*² = β̃ + c_0² Var[x0 | x_t]."""

    def frac(t, unknown):
        s = ((t * schedule.T).round() - 1) / schedule.T
        q = schedule.posterior(s, t)
        low, high = (log_variance(schedule, s, t, f) for f in (-1.0, torch.ones_like(t)))
        return 2 * ((q.var + q.c_0**2 * unknown).log() - low) / (high - low) - 1

    return frac


@pytest.mark.parametrize("make", [linear, cosine, sigmoid])
@pytest.mark.parametrize("T", [100, 1000, 4000])
def test_bound_of_the_optimal_model_is_the_entropy_and_the_prior(make, T):
    schedule = make(T)
    end = schedule(torch.ones((), dtype=torch.float64))
    var = end.alpha**2 * S**2 + end.sigma**2
    prior = 0.5 * (var + (end.alpha * M) ** 2 - 1 - var.log())
    entropy = 0.5 * math.log(2 * math.pi * math.e * S**2)
    assert total(schedule, optimal(schedule)) == pytest.approx(entropy + float(prior), abs=1e-10)


@pytest.mark.parametrize(
    ("make", "frac", "nats"),
    [
        (linear, 1.0, 0.840461911),
        (linear, -1.0, 1.295718091),
        (cosine, 1.0, 0.854164061),
        (cosine, -1.0, 1.255784774),
    ],
)
def test_bound_of_fixed_variances(make, frac, nats):
    assert total(make(1000), lambda t, unknown: frac) == pytest.approx(nats, abs=2e-9)


def test_prior_is_the_divergence_from_unit_noise():
    schedule, x0 = linear(100), torch.linspace(-1, 1, 12).view(2, 1, 2, 3)
    end = schedule(torch.ones((), dtype=torch.float64))
    q = torch.distributions.Normal(end.alpha * x0.double(), end.sigma)
    want = torch.distributions.kl_divergence(q, torch.distributions.Normal(torch.zeros(()).double(), 1.0))
    torch.testing.assert_close(bound.prior(schedule, x0), want.flatten(1).mean(1) / math.log(2))


def test_decoder_is_a_distribution_over_the_256_values():
    values = (torch.arange(256, dtype=torch.float64) / 127.5 - 1).view(-1, 1, 1, 1)
    for mean, std in ((0.1, 0.05), (-0.97, 0.3), (0.999, 0.02), (0.0, 3.0)):
        nll = bound.decoder(
            values, torch.full_like(values, mean), torch.tensor(std, dtype=torch.float64).log()
        )
        assert float((-nll).exp().sum()) == pytest.approx(1, abs=3e-10)


def test_decoder_is_symmetric_and_exact_in_its_tails():
    values = (torch.arange(256, dtype=torch.float64) / 127.5 - 1).view(-1, 1, 1, 1)
    log_std = torch.tensor(0.1, dtype=torch.float64).log()
    up = bound.decoder(values, torch.full_like(values, 0.3), log_std)
    down = bound.decoder(-values, torch.full_like(values, -0.3), log_std)
    torch.testing.assert_close(up, down, rtol=1e-12, atol=0)
    # 6.9 deviations away: 1 − Φ would be exact to four digits only
    normal, x, low = torch.distributions.Normal(0.0, 1.0), values[253], values[253] - 1 / 255
    want = normal.cdf(-(low + 0.0 - 0.3) / 0.1) - normal.cdf(-(low + 2 / 255 - 0.3) / 0.1)
    torch.testing.assert_close((-up[253]).exp(), want, rtol=1e-9, atol=0)
    assert float(x) > 0.98
