"""Bits per dimension of a Gaussian, where each term is known, and of any batch."""

import math

import pytest
import torch
from oracle import gaussian

from diffexp.diffusion import FixedLarge, FixedSmall, LearnedRange, V, bound, cosine, flow, linear
from diffexp.diffusion.likelihood import bits_per_dim, parts
from diffexp.randomness import Noise

M, S = 0.2, 0.5


@pytest.mark.parametrize(
    "variance", [FixedSmall(), FixedLarge(), LearnedRange()], ids=lambda v: type(v).__name__
)
@pytest.mark.parametrize("schedule", [linear(100), cosine(100), flow(100)], ids=["linear", "cosine", "flow"])
def test_each_term_is_its_expectation(schedule, variance):
    """E L_t has Var[x0 | x_t] in the place of the squared error."""
    x0 = M + S * torch.randn(40, 1, 20, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    denoiser = gaussian(schedule, V(), variance, M, S)
    noise = Noise(0, torch.arange(40), (1, 20, 20))
    got = bits_per_dim(denoiser, schedule, x0, lambda i: noise(i).double())
    assert torch.equal(got.step, torch.arange(1, 101)[:, None].expand(-1, 40))
    t = (got.step[:, 0].double() / 100).view(-1, 1, 1, 1)
    level = schedule(t)
    unknown = S**2 * level.sigma**2 / (level.alpha**2 * S**2 + level.sigma**2)
    frac = denoiser.network._frac(t, unknown) if variance.outputs == 2 else variance.split(x0, schedule, t)[1]
    want = bound.step(schedule, torch.zeros_like(unknown), unknown.sqrt(), t, frac)
    se = got.terms.std(1) / 40**0.5
    assert ((got.terms.mean(1) - want)[1:].abs() < 5 * se[1:] + 1e-12).all()
    end = schedule(torch.ones((), dtype=torch.float64))
    prior = 0.5 * (end.alpha**2 * (M**2 + S**2) + end.sigma**2 - 1 - 2 * end.sigma.log()) / math.log(2)
    assert float(got.prior.mean()) == pytest.approx(float(prior), rel=0.05)
    assert torch.equal(got.total, got.prior + got.terms.sum(0))


def test_does_not_depend_on_the_batch():
    schedule, x0 = linear(50), torch.rand(6, 1, 4, 4) * 2 - 1
    denoiser = gaussian(schedule, V())

    def bits(index):
        return bits_per_dim(denoiser, schedule, x0[index], Noise(3, index, (1, 4, 4))).total

    whole = bits(torch.arange(6))
    torch.testing.assert_close(
        torch.cat([bits(torch.tensor([i])) for i in range(6)]), whole, rtol=1e-5, atol=1e-6
    )


def test_fewer_terms_stand_for_all():
    for T, steps in ((1000, 50), (1000, 2), (100, 100), (100, None), (100, 300)):
        edges = parts(T, steps)
        assert edges[0] == 1 and edges[1] == 2 and edges[-1] == T + 1 and (edges.diff() > 0).all()
        most = min(steps or T, T)
        assert most - 2 < len(edges) - 1 <= most


def test_a_few_terms_are_unbiased_and_their_interval_is_true():
    """Each part of the chain is seen everywhere; the mean is that of all terms, within its standard error."""
    schedule, n = cosine(200), 600
    x0 = M + S * torch.randn(n, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    noise = Noise(0, torch.arange(n), (1, 4, 4))
    denoiser = gaussian(schedule, V(), FixedLarge(), M, S)
    few, all_ = (
        bits_per_dim(denoiser, schedule, x0, lambda i: noise(i).double(), steps=s) for s in (6, None)
    )
    gap = few.total - all_.total
    assert abs(float(gap.mean())) < 3 * float(gap.std()) / n**0.5
    assert float(gap.std()) > 0.01  # there is something to estimate
    edges = parts(200, 6)
    for low, high, seen in zip(edges[:-1], edges[1:], few.step, strict=True):
        assert seen.min() == low and seen.max() == high - 1
        counts = seen.bincount(minlength=int(high))[int(low) :].double()
        assert (counts / counts.mean()).sub(1).abs().max() < 6 / float(counts.mean()) ** 0.5 + 1e-9


def test_fixed_variances_are_told_beside_the_learned_one():
    schedule, x0 = linear(60), M + S * torch.randn(4, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    noise = Noise(0, torch.arange(4), (1, 4, 4))
    of = {
        variance: bits_per_dim(gaussian(schedule, V(), variance, M, S), schedule, x0, noise)
        for variance in (FixedSmall(), FixedLarge(), LearnedRange())
    }
    learned = of[LearnedRange()]
    torch.testing.assert_close(learned.small, of[FixedSmall()].terms)
    torch.testing.assert_close(learned.large, of[FixedLarge()].terms)
    assert float(learned.total.mean()) < float(of[FixedSmall()].total.mean())
    assert float(learned.total.mean()) < float(of[FixedLarge()].total.mean())


def test_the_approximation_of_the_decoder_is_near_but_not_it():
    x = torch.linspace(-4, 4, 2001, dtype=torch.float64)
    gap = (bound.tanh_cdf(x) - torch.special.ndtr(x)).abs().max()
    assert 1e-5 < float(gap) < 3e-4
    x0 = (torch.arange(256).double() / 127.5 - 1).view(1, 1, 16, 16)
    mean, log_std = x0 + 0.01, torch.full_like(x0, math.log(0.02))
    a, b = bound.decoder(x0, mean, log_std), bound.decoder(x0, mean, log_std, bound.tanh_cdf)
    assert 1e-6 < float((a - b).abs().max()) < 0.01
