"""What the network is given as the time."""

import math
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from diffexp.diffusion import (
    EDM,
    X0,
    Denoiser,
    Eps,
    FixedSmall,
    Flow,
    Gaussian,
    LearnedRange,
    Mean,
    Timed,
    V,
    cosine,
    flow,
    linear,
    with_snr,
)
from diffexp.diffusion.prediction import Coefficients, c_noise, time_of
from diffexp.samplers import DDIM, DDPM, Adaptive, Heun

SCHEDULES = {
    "linear": linear(),
    "cosine": cosine(),
    "zero": with_snr(cosine(), zero_terminal=True),
    "shifted": with_snr(flow(), shift=3.0),
}
TIMES = ["t", "flow", "log_sigma", "index"]
X = torch.randn(4, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def at(*values):
    return torch.tensor(values, dtype=torch.float64)


class Hears(nn.Module):
    def forward(self, x, t, cond=None):
        self.t = t
        return x


def heard(prediction, schedule, t):
    network = Hears()
    Denoiser(network, schedule, prediction, FixedSmall())(X, t)
    return network.t


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("make", [X0, V, Flow, EDM])
def test_unless_told_otherwise_it_is_t_bit_for_bit(schedule, make):
    for t in (at(0.3)[0], at(0.1, 0.2345, 0.5, 1.0).view(-1, 1, 1, 1)):
        assert torch.equal(heard(make(), schedule, t), t.flatten().expand(4).float())


@pytest.mark.parametrize("make", [X0, V, Flow, EDM, Eps, Mean])
def test_each_choice_is_its_formula(make):
    schedule, t = linear(), at(0.001, 0.3, 0.9, 1.0).view(-1, 1, 1, 1)
    alpha, sigma = (u.flatten() for u in schedule(t))
    want = {
        "flow": sigma / (alpha + sigma),
        "log_sigma": (sigma / alpha).log() / 4,
        "index": t.flatten() - 0.001,
    }
    for time, value in want.items():
        got = heard(make(schedule, time=time) if make is Mean else make(time=time), schedule, t)
        assert got.dtype == torch.float32
        torch.testing.assert_close(got, value.float(), rtol=1e-6, atol=1e-8)


def test_numbers_of_the_papers():
    """EDM's table 1 at σ = 80; DDPM's index 999 of 1000; SD3's shifted half."""
    edm, t = linear(), linear().time(torch.tensor(80.0).double().atan())
    assert float(c_noise(EDM(time="log_sigma"), t, edm)) == pytest.approx(math.log(80) / 4, rel=1e-9)
    assert float(1000 * c_noise(Eps(time="index"), at(1.0), linear())) == pytest.approx(999)
    assert float(1000 * c_noise(Eps(time="index"), at(0.001), linear())) == pytest.approx(0, abs=1e-12)
    assert float(c_noise(Flow(time="flow"), at(0.5), SCHEDULES["shifted"])) == pytest.approx(0.75, abs=1e-12)


@pytest.mark.parametrize("time", TIMES)
def test_it_is_finite_and_rises_to_the_end_without_signal(time):
    t = torch.linspace(0, 1, 1001, dtype=torch.float64)
    for schedule in SCHEDULES.values():
        noise = c_noise(V(time=time), t, schedule)
        assert noise.isfinite().all() and (noise.diff() > 0).all()
    assert float(c_noise(V(time="log_sigma"), at(1.0), flow())) == 2.5


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("time", TIMES)
def test_the_time_is_taken_back(time, schedule):
    prediction, t = V(time=time), torch.linspace(0.001, 1, 777, dtype=torch.float64)
    back = time_of(prediction, c_noise(prediction, t, schedule), schedule)
    torch.testing.assert_close(back, t, rtol=0, atol=1e-9)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("variance", [FixedSmall(), LearnedRange()], ids=["fixed", "learned"])
def test_networks_in_closed_form_give_the_same_samples_whatever_they_are_given(schedule, variance):
    samplers = [DDIM(steps=8), DDPM(steps=8), Heun(steps=6, spacing="karras"), Adaptive()]
    for sampler in samplers:
        made = []
        for time in TIMES:
            p = Flow(time=time)
            model = Denoiser(Gaussian(schedule, p, variance), schedule, p, variance)
            noise = lambda k: torch.randn(X.shape, generator=torch.Generator().manual_seed(k)).double()  # noqa: E731
            made.append(sampler.sample(model, schedule, noise).double())
        for other in made[1:]:
            torch.testing.assert_close(other, made[0], rtol=0, atol=2e-5)


@dataclass(frozen=True)
class Own:
    """A plug-in's, which says nothing of time."""

    def __call__(self, level):
        return Coefficients(1.0, 0.0, 1.0)


def test_a_prediction_that_says_nothing_of_time_keeps_t():
    assert not isinstance(Own(), Timed)
    assert torch.equal(heard(Own(), cosine(), at(0.3)[0]), torch.full((4,), 0.3))
    model = Denoiser(Gaussian(cosine(), Own(), FixedSmall()), cosine(), Own(), FixedSmall())
    same = Denoiser(Gaussian(cosine(), X0(), FixedSmall()), cosine(), X0(), FixedSmall())
    assert torch.equal(model(X, at(0.3)[0]).x0, same(X, at(0.3)[0]).x0)
