"""The loss: its weights in the spaces of the papers, its form, its precision, its times."""

import copy

import pytest
import torch
from oracle import told
from torch import nn

from diffexp.diffusion import (
    EDM,
    SNR,
    X0,
    Chain,
    Denoiser,
    Eps,
    FixedSmall,
    LearnedRange,
    MinSNR,
    Objective,
    Uniform,
    V,
    cosine,
    linear,
    with_snr,
)
from diffexp.errors import ConfigError
from diffexp.randomness import generator

WEIGHTINGS = [Uniform(), SNR(), MinSNR()]
PREDICTIONS = [Eps(), X0(), V(), EDM()]
EVERY = torch.arange(1, 1001, dtype=torch.float64) / 1000


def level_at(i):
    return linear()(torch.tensor((i + 1) / 1000, dtype=torch.float64))


def on_network(weighting, prediction, i):
    """The weight of |F − F*|²."""
    level = level_at(i)
    c_out = torch.as_tensor(prediction(level).c_out, dtype=torch.float64)
    return float(weighting(level, c_out) * c_out**2)


def draw(*words, shape=(1000, 3, 8, 8), dtype=torch.float64):
    return torch.randn(shape, generator=generator(0, *words), dtype=dtype)


@pytest.mark.parametrize("i", [0, 250, 999])
def test_unit_weight_on_the_network_is_snr_1_and_snr_plus_1_on_the_image(i):
    level = level_at(i)
    snr = float(level.snr)
    for prediction, expected in ((Eps(), snr), (X0(), 1), (V(), snr + 1), (EDM(0.5), snr + 4)):
        c_out = torch.as_tensor(prediction(level).c_out, dtype=torch.float64)
        assert float(Uniform()(level, c_out)) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("i", [0, 250, 999])
def test_the_weight_snr_is_unit_weight_on_the_noise(i):
    snr = float(level_at(i).snr)
    found = [on_network(SNR(), p, i) for p in (Eps(), X0(), V())]
    assert found == pytest.approx([1, snr, snr / (snr + 1)], rel=1e-10)


def test_min_snr_has_the_published_weights():
    found = [on_network(MinSNR(5.0), p, 250) for p in (Eps(), X0(), V())]
    assert found == pytest.approx([1, 1.08953, 0.521423], rel=5e-6)
    snr = float(level_at(10).snr)  # 476, above gamma
    found = [on_network(MinSNR(5.0), p, 10) for p in (Eps(), X0(), V())]
    assert found == pytest.approx([5 / snr, 5, 5 / (snr + 1)], rel=1e-10)


@pytest.mark.parametrize("prediction", PREDICTIONS, ids=str)
@pytest.mark.parametrize("weighting", WEIGHTINGS, ids=str)
def test_the_loss_is_the_weighted_error_of_the_image(tiny, prediction, weighting):
    denoiser = Denoiser(tiny().double(), linear(), prediction, FixedSmall()).requires_grad_(False)
    x0, noise = draw("x0"), draw("noise")
    found = Objective(weighting, Chain()).at(denoiser, x0, None, EVERY, noise)
    t = EVERY.view(-1, 1, 1, 1)
    level = linear()(t)
    error = denoiser(level.alpha * x0 + level.sigma * noise, t).x0 - x0
    c_out = torch.as_tensor(prediction(level).c_out, dtype=torch.float64).expand_as(t)
    by_image = weighting(level, c_out).flatten() * error.square().flatten(1).mean(1)
    torch.testing.assert_close(found.each, by_image, rtol=1e-9, atol=0)
    assert float(found.loss) == pytest.approx(float(by_image.mean()), rel=1e-10)
    assert torch.equal(found.t, EVERY)


@pytest.mark.parametrize("prediction", PREDICTIONS, ids=str)
@pytest.mark.parametrize("autocast", [None, torch.bfloat16])
def test_low_precision_costs_less_than_a_percent_at_every_time(tiny, prediction, autocast):
    schedule = cosine() if isinstance(prediction, Eps) else with_snr(cosine(), zero_terminal=True)
    net, objective = tiny().requires_grad_(False), Objective(Uniform(), Chain())
    exact = Denoiser(copy.deepcopy(net).double(), schedule, prediction, FixedSmall())
    rough = Denoiser(net, schedule, prediction, FixedSmall(), autocast)
    x0, noise = draw("x0"), draw("noise")
    a = objective.at(exact, x0, None, EVERY, noise).each
    b = objective.at(rough, x0.float(), None, EVERY, noise.float()).each
    assert b.dtype == torch.float32
    assert ((b - a) / a).abs().max() < (1e-5 if autocast is None else 0.01)
    assert autocast is None or ((b - a) / a).abs().max() > 1e-5  # the network did run in bfloat16


class Optimal(nn.Module):
    """The best possible eps for data N(0, s²): Eps() makes c_in 1, so it sees x_t itself."""

    def __init__(self, schedule, s):
        super().__init__()
        self.schedule, self.s = schedule, s

    def forward(self, x, t, cond=None):
        level = self.schedule(t.view(-1, 1, 1, 1))
        return level.sigma / ((self.s * level.alpha) ** 2 + level.sigma**2) * x


@pytest.mark.parametrize("s", [0.3, 1.0])
def test_the_least_loss_of_gaussian_data_is_reached(s):
    t = torch.tensor([0.001, 0.1, 0.3, 0.6]).repeat_interleave(50)
    denoiser = Denoiser(Optimal(linear(), s), linear(), Eps(), FixedSmall())
    x0, noise = s * draw("x0", shape=(200, 3, 20, 20)), draw("noise", shape=(200, 3, 20, 20))
    mse = Objective(Uniform(), Chain()).at(denoiser, x0, None, t.double(), noise).mse.view(4, 50).mean(1)
    level = linear()(t[::50].double())
    least = (s * level.alpha) ** 2 / ((s * level.alpha) ** 2 + level.sigma**2)
    torch.testing.assert_close(mse, least, rtol=0.03, atol=0)  # 60,000 squares each: 0.6 %


def test_losses_are_a_function_of_the_generator_and_reach_the_weights(tiny):
    net, objective, x0 = tiny(), Objective(SNR(), Chain()), draw("x0", shape=(6, 3, 8, 8)).float()
    denoiser, label = Denoiser(net, linear(), V(), FixedSmall()), told(torch.tensor([0, 1, 2, 3, 0, 1]))
    first, again, other = (objective(denoiser, x0, label, generator(0, "train", k)) for k in (1, 1, 2))
    assert torch.equal(first.each, again.each) and not torch.equal(first.each, other.each)
    assert first.loss.item() == pytest.approx(float(first.each.mean()), rel=1e-6)
    first.loss.backward()
    assert all(p.grad.abs().max() > 0 for p in net.parameters())
    assert first.mse.shape == first.each.shape == first.t.shape == (6,)
    assert not first.mse.requires_grad and not first.each.requires_grad


def test_the_learned_variance_takes_no_part_in_this_loss(tiny):
    net, x0 = tiny(outputs=2), draw("x0", shape=(6, 3, 8, 8)).float()
    denoiser = Denoiser(net, linear(), V(), LearnedRange())
    Objective(Uniform(), Chain())(denoiser, x0, None, generator(0)).loss.backward()
    grad = net.conv.weight.grad
    assert grad[:3].abs().max() > 0 and grad[3:].abs().max() == 0


def test_times_are_uniform_over_the_steps_of_the_chain():
    t = Chain()(200_000, cosine(T=50), generator(0, "times"))
    assert t.dtype == torch.float64
    step = (t * 50).round().long()
    torch.testing.assert_close(step / 50, t, check_dtype=False, rtol=0, atol=1e-7)
    count = step.bincount(minlength=51)
    assert count[0] == 0 and len(count) == 51
    chi2 = float(((count[1:] - 4000.0) ** 2 / 4000).sum())
    assert 20 < chi2 < 95  # 49 degrees of freedom: 49 ± 10


def test_min_snr_wants_a_positive_gamma():
    with pytest.raises(ConfigError, match=r"gamma=0\.0\n  at: weighting\.gamma"):
        MinSNR(0.0)
