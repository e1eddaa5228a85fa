"""Networks in closed form, against integrals worked out otherwise, and against sums over the data."""

import pytest
import torch
from oracle import gaussian, told

from diffexp.codecs import Pixels
from diffexp.data import Digits
from diffexp.diffusion import (
    EDM,
    X0,
    Denoiser,
    Eps,
    FixedSmall,
    Flow,
    Gaussian,
    Ideal,
    LearnedRange,
    Mixture,
    V,
    cosine,
    linear,
    with_snr,
)
from diffexp.samplers import DDIM

PREDICTIONS = [Eps(), X0(), V(), EDM(), Flow()]
X = torch.randn(3, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def times(*values):
    return [torch.tensor(v, dtype=torch.float64) for v in values]


@pytest.mark.parametrize("prediction", PREDICTIONS, ids=lambda p: type(p).__name__)
def test_the_gaussian_is_that_of_the_tests(prediction):
    schedule = linear()
    for variance in (FixedSmall(), LearnedRange()):
        ours = Denoiser(Gaussian(schedule, prediction, variance), schedule, prediction, variance)
        for t in times(0.001, 0.3, 0.9, 1.0):
            a, b = ours(X, t), gaussian(schedule, prediction, variance)(X, t)
            torch.testing.assert_close(a.x0, b.x0, rtol=0, atol=1e-9)
            torch.testing.assert_close(
                torch.as_tensor(a.frac).to(X), torch.as_tensor(b.frac).to(X), atol=1e-7, rtol=0
            )


@pytest.mark.parametrize("t", times(0.01, 0.3, 1.0))
def test_the_mixture_is_the_integral(t):
    """E[x0 | x_t] and Var by Bayes' rule on a fine grid of x0."""
    schedule, u = cosine(), torch.linspace(-3, 3, 200_001, dtype=torch.float64)
    network = Mixture(schedule, X0(), FixedSmall())
    density = sum(
        w / s * (-((u - m) ** 2) / (2 * s**2)).exp()
        for m, s, w in zip((-1.0, 0.6), (0.25, 0.15), (0.3, 0.7), strict=True)
    )
    level = schedule(t)
    mean, var = network.moments(X, schedule(t.view(1, 1, 1, 1).expand(3, 1, 1, 1)), None)
    for i, x in enumerate(X.flatten()[:6]):
        mass = density * (-((x - level.alpha * u) ** 2) / (2 * level.sigma**2)).exp()
        want = (mass * u).sum() / mass.sum()
        assert float(mean.flatten()[i]) == pytest.approx(float(want), abs=1e-7)
        assert float(var.flatten()[i]) == pytest.approx(
            float((mass * u**2).sum() / mass.sum() - want**2), abs=1e-7
        )


def test_a_label_sets_the_component_of_a_mixture():
    schedule = cosine()
    network, level = Mixture(schedule, X0(), FixedSmall()), schedule(torch.full((3, 1, 1, 1), 0.6).double())
    mean, _ = network.moments(X, level, told(torch.tensor([0, 1, 2])))
    for i, options in ((0, (-1.0, 0.25)), (1, (0.6, 0.15))):
        alone = Gaussian(schedule, X0(), FixedSmall(), *options).moments(X, level, None)[0]
        torch.testing.assert_close(mean[i], alone[i])
    torch.testing.assert_close(mean[2], network.moments(X, level, None)[0][2])


@pytest.fixture(scope="module")
def digits():
    data = Digits()
    batches = list(data.batches("train", 500))
    images = Pixels().encode(torch.cat([b.image for b in batches])).double()
    return data, images, torch.cat([b.label for b in batches])


@pytest.mark.parametrize("zero", [False, True])
def test_ideal_is_the_softmax_over_the_data(digits, zero, monkeypatch):
    """In chunks, and conditional on the class, as in one sum."""
    monkeypatch.setattr("diffexp.diffusion.closed_form._CHUNK", 100)
    data, images, labels = digits
    schedule = with_snr(linear(), zero_terminal=zero)
    network = Ideal(schedule, V(), FixedSmall(), data, num_classes=10)
    x, cond = torch.randn(4, 1, 8, 8).double(), torch.tensor([3, 7, 10, 0])
    for t in times(0.002, 0.1, 0.5, 1.0):
        level = schedule(t)
        x_t = level.alpha * images[:4] + level.sigma * x
        score = -((x_t[:, None] - level.alpha * images) ** 2).flatten(2).sum(2) / (2 * level.sigma**2)
        score[(cond[:, None] != labels) & (cond[:, None] != 10)] = -torch.inf
        share = score.softmax(1)
        mean = torch.einsum("bn,nchw->bchw", share, images)
        var = torch.einsum("bn,nchw->bchw", share, images**2) - mean**2
        got = network.moments(x_t, schedule(t.expand(4).view(4, 1, 1, 1)), told(cond))
        torch.testing.assert_close(got[0], mean, rtol=0, atol=1e-9)
        torch.testing.assert_close(got[1], var, rtol=0, atol=1e-9)


def test_samples_of_the_ideal_denoiser_are_training_images(digits):
    data, images, labels = digits
    schedule = cosine()
    denoiser = Denoiser(Ideal(schedule, V(), FixedSmall(), data, num_classes=10), schedule, V(), FixedSmall())
    cond = torch.arange(10)
    noise = torch.randn(10, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    out = DDIM(steps=50).sample(denoiser, schedule, lambda k: noise, told(cond)).double()
    far = (out[:, None] - images).flatten(2).abs().amax(2)
    near = far.argmin(1)
    assert far.min(1).values.max() < 1e-3 and torch.equal(labels[near], cond)
