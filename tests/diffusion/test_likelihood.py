"""Bits per dimension of a Gaussian, where each term is known, and of any batch."""

import math

import pytest
import torch
from oracle import gaussian

from diffexp.diffusion import FixedLarge, FixedSmall, LearnedRange, V, bound, cosine, linear
from diffexp.diffusion.likelihood import bits_per_dim, chosen
from diffexp.randomness import Noise

M, S = 0.2, 0.5


@pytest.mark.parametrize(
    "variance", [FixedSmall(), FixedLarge(), LearnedRange()], ids=lambda v: type(v).__name__
)
@pytest.mark.parametrize("schedule", [linear(100), cosine(100)], ids=["linear", "cosine"])
def test_each_term_is_its_expectation(schedule, variance):
    """E L_t has Var[x0 | x_t] in the place of the squared error."""
    x0 = M + S * torch.randn(40, 1, 20, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    denoiser = gaussian(schedule, V(), variance, M, S)
    noise = Noise(0, torch.arange(40), (1, 20, 20))
    got = bits_per_dim(denoiser, schedule, x0, lambda i: noise(i).double())
    t = (got.step.double() / 100).view(-1, 1, 1, 1)
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
        index, share = chosen(T, steps)
        assert index[0] == 1 and share[0] == 1 and float(share.sum()) == T
        assert (index.diff() > 0).all() and index[-1] <= T
    schedule = cosine()
    x0 = M + S * torch.randn(50, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    noise = Noise(0, torch.arange(50), (1, 8, 8))
    denoiser = gaussian(schedule, V(), FixedLarge(), M, S)
    few, all_ = (
        float(bits_per_dim(denoiser, schedule, x0, lambda i: noise(i).double(), steps=s).total.mean())
        for s in (100, None)
    )
    assert few == pytest.approx(all_, rel=0.03)
