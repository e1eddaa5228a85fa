"""The bound as an objective, the other weightings, and the other times."""

import math

import pytest
import torch

from diffexp.diffusion import (
    EDM,
    P2,
    SNR,
    X0,
    Chain,
    Debiased,
    Denoiser,
    EDMWeight,
    Eps,
    FixedLarge,
    FixedSmall,
    LearnedRange,
    LogitNormal,
    LogNormal,
    MinSNR,
    Objective,
    Sigmoid,
    SoftMinSNR,
    Stratified,
    TruncatedSNR,
    Uniform,
    V,
    bound,
    cosine,
    linear,
)
from diffexp.errors import ConfigError
from diffexp.randomness import generator

LN2 = math.log(2)


def draw(n, seed, classes=3):
    return torch.randn(n, classes, 4, 4, generator=generator(seed, "test")).clamp(-1, 1)


def level(i):
    return linear()(torch.tensor((i + 1) / 1000, dtype=torch.float64))


def test_bound_of_an_objective_is_that_of_the_model(tiny):
    """Formed in the space of the output, it is the bound formed from x̂0."""
    schedule, x0 = linear(), draw(6, 0)
    t = torch.tensor([1, 2, 10, 300, 700, 1000], dtype=torch.float64) / 1000
    for prediction in (Eps(), X0(), V(), EDM()):
        denoiser = Denoiser(tiny(2).double(), schedule, prediction, LearnedRange())
        x, noise = x0.double(), torch.randn(x0.shape, generator=generator(1), dtype=torch.float64)
        objective = Objective(Uniform(), Chain(), simple=0.0, vlb=1.0)
        got = objective.at(denoiser, x, None, t, noise)
        at = schedule(t.view(-1, 1, 1, 1))
        p = denoiser(at.alpha * x + at.sigma * noise, t.view(-1, 1, 1, 1), None)
        want = bound.step(schedule, x, p.x0 - x, t.view(-1, 1, 1, 1), p.frac)
        torch.testing.assert_close(got.vlb, want, rtol=1e-6, atol=1e-9)
        assert float(got.loss.detach()) == pytest.approx(1000 * float(want.detach().mean()))


def test_hybrid_trains_the_variance_by_the_bound_and_the_mean_by_the_error(tiny):
    x0, grads = draw(8, 0), {}
    for name, (simple, vlb) in {"simple": (1.0, 0.0), "hybrid": (1.0, 0.001), "vlb": (0.0, 1.0)}.items():
        net = tiny(2)
        denoiser = Denoiser(net, cosine(), Eps(), LearnedRange())
        Objective(Uniform(), Chain(), simple, vlb)(denoiser, x0, None, generator(3)).loss.backward()
        grads[name] = net.conv.weight.grad.chunk(2)
    torch.testing.assert_close(grads["hybrid"][0], grads["simple"][0])
    assert not grads["simple"][1].any() and grads["hybrid"][1].any()
    torch.testing.assert_close(grads["hybrid"][1], 0.001 * grads["vlb"][1])
    assert not torch.allclose(grads["vlb"][0], grads["simple"][0])


def test_neither_the_chain_nor_the_batch_changes_the_size_of_the_bound():
    """Of a Gaussian, T E[L_t] is near the same for any T."""
    from oracle import gaussian

    found = []
    for T in (250, 1000, 4000):
        schedule = cosine(T)
        denoiser = gaussian(schedule, V(), FixedLarge(), 0.0, 0.5)
        x0 = 0.5 * torch.randn(20_000, 1, 1, 1, generator=generator(0), dtype=torch.float64)
        t = Stratified()(len(x0), schedule, generator(T))
        noise = torch.randn(x0.shape, generator=generator(5), dtype=torch.float64)
        objective = Objective(Uniform(), Stratified(), simple=0.0, vlb=1.0)
        keep = t > 0.02  # the rest depends on where the chain ends
        found.append(float(T * objective.at(denoiser, x0, None, t, noise).vlb[keep].mean()))
    assert max(found) < 1.1 * min(found), found


@pytest.mark.parametrize(
    ("variance", "objective", "text"),
    [
        (LearnedRange(), (1.0, 0.0), r"does not train a learned variance[\s\S]*objective=hybrid"),
        (FixedSmall(), (1.0, 0.001), r"no variance to train[\s\S]*variance=learned_range"),
    ],
)
def test_a_variance_that_fits_not_is_refused(variance, objective, text):
    with pytest.raises(ConfigError, match=text):
        Objective(Uniform(), Chain(), *objective).check(variance)
    Objective(Uniform(), Chain(), 0.0, 1.0).check(variance)


def test_refusals():
    with pytest.raises(ConfigError, match=r"sum over the steps of the chain[\s\S]*times=uniform"):
        Objective(Uniform(), LogNormal(), vlb=0.001)
    with pytest.raises(ConfigError, match="not both 0"):
        Objective(Uniform(), Chain(), 0.0, 0.0)


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
def test_bound_weighs_the_error_of_eps_as_the_paper_says(i, small, large):
    """β²/(2 σ² α (1 − ᾱ)) for both fixed variances, with the constants of FORMULAS."""
    schedule, t = linear(), torch.tensor((i + 1) / 1000, dtype=torch.float64).view(1, 1, 1, 1)
    ratio = schedule(t).ratio
    zero = torch.zeros(1, 1, 1, 1, dtype=torch.float64)
    for frac, want in ((-1.0, small), (1.0, large)):
        at = [LN2 * bound.step(schedule, zero, e * ratio, t, frac) for e in (zero, zero + 1)]
        assert float(at[1] - at[0]) == pytest.approx(want, rel=2e-6)


WEIGHTINGS = [
    Uniform(), SNR(), MinSNR(), TruncatedSNR(), SoftMinSNR(), P2(), Debiased(), EDMWeight(), Sigmoid(),
]  # fmt: skip


@pytest.mark.parametrize("weighting", WEIGHTINGS[1:], ids=lambda w: type(w).__name__)
def test_equal_errors_weigh_equally_in_every_prediction(weighting):
    """The weight of |x̂0 − x0|² does not depend on what the network predicts."""
    for i in (0, 10, 250, 999):
        at = level(i)
        weights = [float(weighting(at, torch.as_tensor(p(at).c_out).double())) for p in (Eps(), X0(), V())]
        assert weights[0] == weights[1] == weights[2] > 0


@pytest.mark.parametrize(
    ("weighting", "on_eps"),
    [
        (SNR(), lambda s: 1.0),
        (TruncatedSNR(), lambda s: max(s, 1.0) / s),
        (MinSNR(5.0), lambda s: min(s, 5.0) / s),
        (SoftMinSNR(4.0), lambda s: 1 / (1 + s / 4)),
        (P2(1.0, 0.5), lambda s: (1 + s) ** -0.5),
        (Debiased(), lambda s: s**-0.5),
        (EDMWeight(0.5), lambda s: 1 + 4 / s),
        (Sigmoid(-1.0), lambda s: 1 / (1 + s * math.e)),
    ],
    ids=lambda w: type(w).__name__,
)
def test_weight_on_eps_is_that_of_the_paper(weighting, on_eps):
    for i in (0, 100, 250, 700, 999):
        at = level(i)
        snr = float(at.snr)
        got = float(weighting(at, torch.ones((), dtype=torch.float64))) / snr
        assert got == pytest.approx(on_eps(snr), rel=1e-9)


def test_edm_weight_is_unit_on_the_output_of_edm():
    for i in (0, 250, 999):
        at = level(i)
        assert float(EDMWeight(0.5)(at, torch.zeros(())) * EDM(0.5)(at).c_out ** 2) == pytest.approx(1)


def test_stratified_times_are_uniform_and_even():
    schedule = linear()
    times = [Stratified()(50, schedule, generator(s)) for s in range(400)]
    steps = torch.stack(times) * 1000
    torch.testing.assert_close(steps, steps.round(), rtol=0, atol=1e-9)
    assert steps.min() == 1 and steps.max() == 1000
    assert all(len(((row - 1) // 20).unique()) == 50 for row in steps.round())
    spread = {kind: torch.stack([kind(50, schedule, generator(s)).mean() for s in range(400)]).std()
              for kind in (Stratified(), Chain())}  # fmt: skip
    assert spread[Stratified()] < spread[Chain()] / 4
    counts = torch.histc(steps.flatten(), 10, 0.5, 1000.5)
    assert (counts / 2000 - 1).abs().max() < 0.05


def test_log_normal_times_have_the_noise_of_edm():
    schedule = cosine()
    t = LogNormal()(40_000, schedule, generator(0))
    log_ratio = schedule(t).ratio.log()
    assert float(log_ratio.mean()) == pytest.approx(-1.2, abs=0.03)
    assert float(log_ratio.std()) == pytest.approx(1.2, rel=0.02)
    assert t.min() >= 1 / 1000 and t.max() <= 1


def test_logit_normal_times():
    t = LogitNormal(0.5, 0.8)(40_000, linear(), generator(0))
    logit = (t / (1 - t)).log()
    assert float(logit.mean()) == pytest.approx(0.5, abs=0.02)
    assert float(logit.std()) == pytest.approx(0.8, rel=0.02)
