"""Flow matching is a schedule and a prediction: against its own formulas, written out."""

import math

import pytest
import torch
from torch import nn

from diffexp.condition import Condition
from diffexp.diffusion import (
    EDM,
    X0,
    ClassifierFree,
    Denoiser,
    Eps,
    FixedSmall,
    Flow,
    Gaussian,
    Guided,
    LogitNormal,
    Mean,
    Objective,
    Uniform,
    V,
    cosine,
    flow,
    linear,
    probability_flow,
    with_snr,
)
from diffexp.diffusion.prediction import target
from diffexp.errors import ConfigError
from diffexp.randomness import generator
from diffexp.samplers import DDIM

SCHEDULE, T = flow(), 1000
CHAIN = (torch.arange(1, T + 1, dtype=torch.float64) / T).view(-1, 1, 1, 1)
OTHERS = [linear(), cosine(), with_snr(cosine(), zero_terminal=True), with_snr(SCHEDULE, shift=3.0)]
SHAPE = (3, 2, 4, 4)


class Curved(nn.Module):
    """Any function of image, time and label; keeps what it is given."""

    def forward(self, x, t, cond=None):
        self.x, self.t = x, t
        label = 0 if cond is None else cond.label.view(-1, 1, 1, 1)
        return torch.sin(3 * x + t.to(x).view(-1, 1, 1, 1)) + 0.3 * x.flip(3) + 0.1 * label


def denoiser(schedule=SCHEDULE, prediction=None, network=None):
    return Denoiser(network or Curved(), schedule, prediction or Flow(), FixedSmall())


def saying(out, schedule, prediction):
    """A denoiser whose network always gives `out`."""
    return denoiser(schedule, prediction, lambda x, t, cond: out)


def draw(*words, shape=SHAPE):
    return torch.randn(shape, generator=generator(0, *words), dtype=torch.float64)


def near(a, b, atol):
    torch.testing.assert_close(a, b.expand_as(a), rtol=0, atol=atol)


@pytest.mark.parametrize("schedule", [SCHEDULE, *OTHERS])
def test_the_target_is_noise_minus_image_on_every_schedule(schedule):
    level = schedule(CHAIN)
    a, b = target(Flow()(level), level)
    near(a, torch.tensor(-1.0).double(), 2e-13)  # 1 − α/(α + σ) loses digits where σ is small
    near(b, torch.tensor(1.0).double(), 1e-13)


@pytest.mark.parametrize("schedule", [SCHEDULE, *OTHERS])
def test_the_network_sees_the_straight_path(schedule):
    model, x0, eps = denoiser(schedule), draw("x0"), draw("eps")
    for t in CHAIN[[0, 99, 499, 999]].flatten():
        level = schedule(t)
        model(level.alpha * x0 + level.sigma * eps, t)
        u = t if schedule is SCHEDULE else level.sigma / (level.alpha + level.sigma)
        near(model.network.x, (1 - u) * x0 + u * eps, 1e-13)


@pytest.mark.parametrize("steps", [4, 20, 100])
def test_ddim_is_euler_on_the_flow(steps):
    """dz/dt = F(z, t) of z = (1 − t) x0 + t ε, from t = 1 to 0."""
    model, z = denoiser(), draw("noise")
    got = DDIM(steps=steps).sample(model, SCHEDULE, lambda k: z)
    for i in range(steps, 0, -1):
        z = z - Curved()(z, torch.tensor(i / steps).expand(len(z))) / steps
    near(got, z, 1e-14)


@pytest.mark.parametrize("schedule", [SCHEDULE, *OTHERS])
def test_it_is_the_velocity_of_the_angle_in_other_units(schedule):
    """ε − x0 = (σ − α) x + (α + σ) v."""
    x, v = draw("x"), draw("v")
    for t in CHAIN[[0, 300, 999]].flatten():
        alpha, sigma = schedule(t)
        other = (sigma - alpha) * x + (alpha + sigma) * v
        a, b = (saying(out, schedule, p)(x, t) for p, out in ((V(), v), (Flow(), other)))
        near(a.x0, b.x0, 1e-13)
        near(a.eps, b.eps, 1e-12)


@pytest.mark.parametrize("schedule", [linear(), with_snr(cosine(), shift=0.5)])
def test_the_same_belief_in_the_words_of_any_prediction_is_the_same_image(schedule):
    x, x0 = draw("x"), draw("x0")
    for t in CHAIN[[0, 300, 900]].flatten():
        level = schedule(t)
        for prediction in (Eps(), X0(), V(), EDM(), Mean(schedule), Flow()):
            a, b = target(prediction(level), level)
            says = a * x0 + b * (x - level.alpha * x0) / level.sigma
            got = saying(says, schedule, prediction)(x, t)
            near(got.x0, x0, 1e-9 if isinstance(prediction, Mean) else 1e-12)


@pytest.mark.parametrize("w", [0.5, 3.0])
def test_guidance_of_velocities_is_guidance_of_images(w):
    x, t = draw("x"), torch.tensor(0.7, dtype=torch.float64)
    null = Condition(label=torch.full((3,), 9))
    cond = Condition(label=torch.arange(3), null=null)
    network, model = Curved(), denoiser()
    got = Guided(model, SCHEDULE, ClassifierFree(w))(x, t, cond)
    z = x / sum(SCHEDULE(t))
    better, worse = (network(z, torch.tensor(0.7).expand(3), c) for c in (cond, null))
    near(got.x0, z - t * (worse + w * (better - worse)), 1e-13)


def test_uniform_weighting_is_the_loss_of_flow_matching():
    """E |F(z_t, t) − (ε − x0)|²."""
    x0, eps, t = draw("x0"), draw("eps"), torch.tensor([0.001, 0.4, 1.0], dtype=torch.float64)
    losses = Objective(Uniform(), LogitNormal()).at(denoiser(), x0, None, t, eps)
    u = t.view(-1, 1, 1, 1)
    error = Curved()((1 - u) * x0 + u * eps, t.float()) - (eps - x0)
    near(losses.each, error.square().flatten(1).mean(1), 1e-12)
    near(losses.mse, losses.each, 1e-14)


@pytest.mark.parametrize("shift", [1.0, 3.0, 0.5])
def test_logit_normal_times_are_logit_normal_on_the_path(shift):
    """Esser et al. 2024, eq. 19; a shift by s moves their mean by log s."""
    schedule = with_snr(SCHEDULE, shift=shift)
    level = schedule(LogitNormal(mean=0.2, std=0.8)(40_000, schedule, generator(0)))
    logit = torch.logit(level.sigma / (level.alpha + level.sigma))
    assert float(logit.mean()) == pytest.approx(0.2 + math.log(shift), abs=0.02)
    assert float(logit.std()) == pytest.approx(0.8, rel=0.02)


@pytest.mark.parametrize("s", [3.0, 1.0, 0.25])
@pytest.mark.parametrize("T", [50, 1000])
def test_the_shift_of_the_snr_is_the_shift_of_time(s, T):
    """snr.shift is the s of t' = s t/(1 + (s − 1) t), as it stands."""
    schedule, t = with_snr(flow(T), shift=s), torch.arange(T + 1, dtype=torch.float64) / T
    level = schedule(t)
    near(level.sigma / (level.alpha + level.sigma), s * t / (1 + (s - 1) * t), 1e-12)


@pytest.mark.parametrize("prediction", [Flow(), V(), X0()])
def test_the_density_of_a_gaussian_is_exact(prediction):
    x = 0.2 + 0.5 * draw("x", shape=(4, 1, 2, 2))
    model = denoiser(prediction=prediction, network=Gaussian(SCHEDULE, prediction, FixedSmall()))
    got = probability_flow.log_density(model, SCHEDULE, x, rtol=1e-7, atol=1e-7)
    want = torch.distributions.Normal(0.2, 0.5).log_prob(x).flatten(1).sum(1)
    near(got.log_p, want, 1e-3)


def test_between_the_points_of_the_chain_the_path_is_as_straight():
    t = torch.linspace(0.0005, 0.9995, 1000, dtype=torch.float64)
    level = SCHEDULE(t)
    near(level.sigma / (level.alpha + level.sigma), t, 3e-7)


def test_what_is_no_chain_is_refused():
    with pytest.raises(ConfigError, match="T=1 is too short a chain"):
        flow(T=1)
