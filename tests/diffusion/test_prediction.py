"""What the network predicts, and that x̂0 is x0 when it predicts well."""

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
    LearnedRange,
    V,
    cosine,
    flow,
    linear,
    with_snr,
)
from diffexp.diffusion.prediction import target
from diffexp.errors import ConfigError
from diffexp.randomness import generator

ZERO = with_snr(cosine(), zero_terminal=True)
CASES = [(p, s) for p in (X0(), V(), EDM(), EDM(0.3), Flow()) for s in (linear(), cosine(), flow(), ZERO)]
CASES += [(Eps(), linear()), (Eps(), cosine())]
TIMES = (torch.arange(1, 1001, dtype=torch.float64) / 1000).view(-1, 1, 1, 1)


class Says(nn.Module):
    """A network that always gives `out`, and remembers its input."""

    def __init__(self, out):
        super().__init__()
        self.out = out

    def forward(self, x, t, cond=None):
        self.heard = x
        return self.out


def draw(*words, shape=(1000, 3, 2, 2), dtype=torch.float64):
    return torch.randn(shape, generator=generator(0, *words), dtype=dtype)


@pytest.mark.parametrize(("prediction", "schedule"), CASES, ids=str)
@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-10), (torch.float32, 2e-3)])
def test_a_perfect_network_gives_back_image_and_noise_at_every_time(prediction, schedule, dtype, close):
    x0, eps, level = draw("x0", dtype=dtype), draw("eps", dtype=dtype), schedule(TIMES)
    a, b = (c.to(dtype) for c in target(prediction(level), level))
    x_t = level.alpha.to(dtype) * x0 + level.sigma.to(dtype) * eps
    p = Denoiser(Says(a * x0 + b * eps), schedule, prediction, FixedSmall())(x_t, TIMES)
    # at the noisy end 1/α magnifies what float32 rounds off, for eps alone
    error = (p.x0 - x0) * (level.alpha.to(dtype) if isinstance(prediction, Eps) else 1)
    assert error.abs().max() < close
    assert ((p.eps - eps) * level.sigma.to(dtype)).abs().max() < close
    assert p.x0.dtype == p.eps.dtype == dtype and p.frac == -1


@pytest.mark.parametrize(("prediction", "a", "b"), [(Eps(), 0, 1), (X0(), 1, 0)])
def test_the_targets_of_eps_and_x0_are_noise_and_image(prediction, a, b):
    level = linear()(TIMES)
    found = target(prediction(level), level)
    torch.testing.assert_close(found[0].expand_as(TIMES), torch.full_like(TIMES, a), rtol=0, atol=1e-10)
    torch.testing.assert_close(found[1].expand_as(TIMES), torch.full_like(TIMES, b), rtol=0, atol=1e-10)


@pytest.mark.parametrize("schedule", [linear(), ZERO])
def test_the_target_of_v_is_the_velocity(schedule):
    level = schedule(TIMES)
    a, b = target(V()(level), level)
    torch.testing.assert_close(a, -level.sigma, rtol=0, atol=1e-12)
    torch.testing.assert_close(b, level.alpha, rtol=0, atol=1e-15)
    t, h = torch.tensor(0.3001, dtype=torch.float64), 1e-6  # dx/dφ by differences, in one interval
    up, down = schedule(t + h), schedule(t - h)
    dphi = schedule.angle(t + h) - schedule.angle(t - h)
    assert float((up.alpha - down.alpha) / dphi) == pytest.approx(float(-schedule(t).sigma), rel=1e-6)
    assert float((up.sigma - down.sigma) / dphi) == pytest.approx(float(schedule(t).alpha), rel=1e-6)


@pytest.mark.parametrize("sd", [0.5, 0.25])
def test_edm_is_table_1_of_karras_for_the_rescaled_input(sd):
    level = cosine()(TIMES)
    c, s = EDM(sd)(level), level.ratio
    var = s**2 + sd**2
    torch.testing.assert_close(c.c_skip * level.alpha, sd**2 / var, rtol=1e-11, atol=0)
    torch.testing.assert_close(c.c_out, s * sd / var.sqrt(), rtol=1e-11, atol=0)
    torch.testing.assert_close(c.c_in * level.alpha, 1 / var.sqrt(), rtol=1e-11, atol=0)


@pytest.mark.parametrize("schedule", [linear(), ZERO])
def test_edm_has_unit_variance_of_input_and_target_for_its_data(schedule):
    level = schedule(TIMES)
    c = EDM(0.5)(level)
    a, b = target(c, level)
    var_in = c.c_in**2 * (0.25 * level.alpha**2 + level.sigma**2)
    for var in (var_in, 0.25 * a**2 + b**2):
        torch.testing.assert_close(var, torch.ones_like(var), rtol=1e-10, atol=0)


def test_the_network_hears_the_scaled_input():
    net, x = Says(torch.zeros(2, 3, 2, 2)), draw("x", shape=(2, 3, 2, 2), dtype=torch.float32)
    t = torch.tensor(1.0, dtype=torch.float64)
    Denoiser(net, linear(), EDM(0.5), FixedSmall())(x, t)
    level = linear()(t)
    scale = float((0.25 * level.alpha**2 + level.sigma**2) ** -0.5)
    torch.testing.assert_close(net.heard, x * scale)


def test_learned_range_takes_the_second_half_of_the_channels():
    out, x = draw("out", shape=(2, 6, 2, 2)), draw("x", shape=(2, 3, 2, 2))
    p = Denoiser(Says(out), linear(), X0(), LearnedRange())(x, torch.tensor(0.5, dtype=torch.float64))
    assert torch.equal(p.x0, out[:, :3]) and torch.equal(p.frac, out[:, 3:])


@pytest.mark.parametrize("i", [1, 250, 999])
def test_one_error_of_the_network_costs_by_the_conversion_jacobians(i):
    t = torch.tensor((i + 1) / 1000, dtype=torch.float64)
    snr, x, wrong = float(linear()(t).snr), draw("x", shape=(1, 3, 2, 2)), draw("wrong", shape=(1, 3, 2, 2))
    for prediction, expected in (
        (Eps(), 1 / snr), (X0(), 1), (V(), 1 / (snr + 1)), (Flow(), 1 / (1 + snr**0.5) ** 2),
    ):  # fmt: skip
        right, off = (
            Denoiser(Says(out), linear(), prediction, FixedSmall())(x, t).x0 for out in (0 * wrong, wrong)
        )
        cost = (off - right).square().sum() / wrong.square().sum()
        assert float(cost) == pytest.approx(expected, rel=1e-9)
    if i == 250:
        assert snr == pytest.approx(1.08953, rel=1e-5)


@pytest.mark.parametrize("schedule", [ZERO, cosine(max_beta=1.0), flow()])
def test_eps_is_refused_at_zero_terminal_snr(schedule):
    with pytest.raises(ConfigError) as error:
        Denoiser(Says(None), schedule, Eps(), FixedSmall())
    assert str(error.value) == (
        "eps-prediction cannot recover x0 at zero terminal SNR\n"
        "  at: prediction with snr.zero_terminal=true or schedule=flow\n"
        "  do: use prediction=v, x0, edm or flow, or snr.zero_terminal=false and another schedule"
    )


@pytest.mark.parametrize("prediction", [X0(), V(), EDM(), Flow()])
def test_pure_noise_gives_finite_predictions_at_zero_terminal_snr(prediction):
    x, out = draw("x", shape=(2, 3, 2, 2)), draw("out", shape=(2, 3, 2, 2))
    p = Denoiser(Says(out), ZERO, prediction, FixedSmall())(x, torch.ones((), dtype=torch.float64))
    torch.testing.assert_close(p.eps, x, rtol=0, atol=1e-15)
    expected = {X0: out, V: -out, EDM: 0.5 * out, Flow: x - out}[type(prediction)]
    torch.testing.assert_close(p.x0, expected, rtol=0, atol=1e-15)


def test_edm_wants_a_positive_deviation():
    with pytest.raises(ConfigError, match=r"sigma_data=0\.0\n  at: prediction\.sigma_data"):
        EDM(0.0)


def test_a_network_of_another_shape_is_refused():
    """Two channels for one would train: the loss is broadcast, and sampling fails hours later."""

    class Two(nn.Module):
        def forward(self, x, t, cond=None):
            return torch.cat([x, x], 1)

    denoiser = Denoiser(Two(), linear(), V(), FixedSmall())
    x = torch.zeros(3, 1, 8, 8)
    with pytest.raises(ConfigError, match=r"the network gives \(3, 2, 8, 8\) for images of \(3, 1, 8, 8\)"):
        denoiser.output(x, torch.tensor(0.5, dtype=torch.float64))
