"""DDPM and DDIM against what is known of them."""

import math
from typing import get_args

import pytest
import torch
from alike import alike
from oracle import flow, gaussian, moments

from diffexp.diffusion import (
    EDM,
    X0,
    Eps,
    FixedLarge,
    FixedSmall,
    LearnedRange,
    V,
    cosine,
    linear,
    sigmoid,
    with_snr,
)
from diffexp.errors import ConfigError
from diffexp.samplers import DDIM, DDPM, Spacing

PREDICTIONS = [Eps(), X0(), V(), EDM()]
N = 30_000  # torch stays on one thread below 32,768, which is much faster where cores are shared


def noises(shape=(4, 1, 2, 2), dtype=torch.float64):
    """noise(k), the same whenever asked."""
    return lambda k: torch.randn(shape, generator=torch.Generator().manual_seed(k), dtype=dtype)


def trajectory(sampler, denoiser, noise):
    return [x for x, _ in sampler.run(denoiser, denoiser.schedule, noise)]


@pytest.mark.parametrize(("eta", "std"), [(1.0, 0.9053839), (0.5, 0.4526920), ("hat", 0.9059447), (0.0, 0.0)])
def test_noise_of_a_step_from_900_to_800(eta, std):
    s, t = torch.tensor(801 / 1000, dtype=torch.float64), torch.tensor(901 / 1000, dtype=torch.float64)
    turn, fresh = DDIM(eta=eta).scales(linear(), s, t)
    assert float(fresh) == pytest.approx(std, abs=1e-7)  # as many digits as are known
    room = 0.9053839 if eta == "hat" else std
    assert float(turn) == pytest.approx(math.sqrt(float(linear()(s).sigma) ** 2 - room**2), abs=1e-6)


@pytest.mark.parametrize("zero", [False, True], ids=["", "zero"])
@pytest.mark.parametrize("make", [linear, cosine, sigmoid], ids=lambda f: f.__name__)
@pytest.mark.parametrize("spacing", alike(get_args(Spacing), ["leading", "trailing", "karras"]))
def test_ddpm_of_small_variance_is_ddim_of_eta_one(make, zero, spacing):
    schedule = with_snr(make(), zero_terminal=zero)
    denoiser = gaussian(schedule, V())
    for steps in (1, 10, 50):
        a = trajectory(DDPM(steps=steps, spacing=spacing, variance="fixed_small"), denoiser, noises())
        b = trajectory(DDIM(steps=steps, spacing=spacing, eta=1.0), denoiser, noises())
        for x, y in zip(a, b, strict=True):
            torch.testing.assert_close(x, y, rtol=0, atol=1e-12)


@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large"])
def test_full_chain_is_the_textbook(variance):
    """Ho et al. 2020, algorithm 2, in α and β."""
    schedule = linear()
    beta = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    alpha, bar = 1 - beta, (1 - beta).cumprod(0)
    denoiser, noise = gaussian(schedule, Eps()), noises()
    ours = trajectory(DDPM(steps=1000, variance=variance), denoiser, noise)
    x = noise(0)
    for k, i in enumerate(reversed(range(1000)), 1):
        eps = denoiser(x, torch.tensor((i + 1) / 1000, dtype=torch.float64)).eps
        x = (x - beta[i] / (1 - bar[i]).sqrt() * eps) / alpha[i].sqrt()
        small = beta[i] * (1 - bar[i - 1]) / (1 - bar[i]) if i else torch.zeros(())
        x = x + ((small if variance == "fixed_small" else beta[i]).sqrt() * noise(k) if i else 0)
        torch.testing.assert_close(ours[k - 1], x, rtol=0, atol=1e-9)


@pytest.mark.parametrize("prediction", PREDICTIONS, ids=lambda p: type(p).__name__)
def test_ode_converges_to_the_exact_flow_at_first_order(prediction):
    schedule, noise = cosine(), noises()
    denoiser = gaussian(schedule, prediction)
    want = flow(schedule, noise(0), torch.ones((), dtype=torch.float64))
    errors = [
        float((trajectory(DDIM(steps=n), denoiser, noise)[-1] - want).abs().max()) for n in (100, 200, 500)
    ]
    slopes = [math.log(errors[0] / errors[i]) / math.log(n / 100) for i, n in ((1, 200), (2, 500))]
    assert errors[-1] < 0.02 and all(0.85 < slope < 1.3 for slope in slopes), (errors, slopes)


def test_predictions_of_the_same_data_give_the_same_images():
    for schedule in (linear(), cosine()):
        ends = [trajectory(DDIM(steps=20), gaussian(schedule, p), noises())[-1] for p in PREDICTIONS]
        for end in ends[1:]:
            torch.testing.assert_close(end, ends[0], rtol=0, atol=1e-12)
        single = noises(dtype=torch.float32)
        ends = [trajectory(DDIM(steps=20), gaussian(schedule, p), single)[-1] for p in PREDICTIONS]
        for end in ends[1:]:
            assert end.dtype == torch.float32
            torch.testing.assert_close(end, ends[0], rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    "sampler",
    [
        DDPM(steps=20, variance="fixed_small"),
        DDPM(steps=20, variance="fixed_large"),
        *(DDIM(steps=20, eta=eta) for eta in (0.0, 0.5, 1.0, "hat")),
        DDIM(steps=12, spacing="karras", eta=0.3),
    ],
    ids=str,
)
def test_sample_moments_are_the_propagated_ones(sampler):
    denoiser, n = gaussian(linear(), Eps()), N
    x = sampler.sample(denoiser, denoiser.schedule, noises((1, 1, n, 1)))
    mean, var = moments(sampler, denoiser)
    assert float(x.mean()) == pytest.approx(mean, abs=4 * math.sqrt(var / n))
    assert float(x.var()) == pytest.approx(var, rel=5 * math.sqrt(2 / n))


def test_many_steps_recover_the_data():
    for sampler in (DDPM(steps=1000), DDIM(steps=1000, eta=0.5), DDIM(steps=1000)):
        mean, var = moments(
            DDPM(steps=1000, variance="fixed_small") if isinstance(sampler, DDPM) else sampler,
            gaussian(cosine(), V()),
        )
        assert mean == pytest.approx(0.2, abs=3e-3) and var == pytest.approx(0.25, rel=0.02)


def test_learned_variance_of_the_optimal_model_gives_the_exact_data():
    """σ*² makes each step's mean and variance those of the data: the moments are right at any T."""
    denoiser = gaussian(linear(100), V(), LearnedRange())
    x = DDPM(steps=100).sample(denoiser, denoiser.schedule, noises((1, 1, N, 1)))
    assert float(x.mean()) == pytest.approx(0.2, abs=0.01)
    # the last step takes no noise, and loses what is unknown there
    level = denoiser.schedule(torch.tensor(0.01, dtype=torch.float64))
    lost = float(0.25 * level.sigma**2 / (level.alpha**2 * 0.25 + level.sigma**2))
    assert float(x.var()) == pytest.approx(0.25 - lost, rel=0.03)


def test_zero_terminal_snr_starts_from_pure_noise():
    schedule = with_snr(linear(), zero_terminal=True)
    for p in (X0(), V(), EDM()):
        for sampler in (DDIM(steps=10), DDIM(steps=10, eta=1.0), DDPM(steps=10)):
            out = sampler.sample(gaussian(schedule, p), schedule, noises())
            assert out.isfinite().all() and out.abs().max() < 5


def test_model_variance_is_what_the_variance_says():
    for variance, name in ((FixedSmall(), "fixed_small"), (FixedLarge(), "fixed_large")):
        denoiser = gaussian(linear(), V(), variance)
        own = DDPM(steps=10).sample(denoiser, denoiser.schedule, noises())
        torch.testing.assert_close(
            own, DDPM(steps=10, variance=name).sample(denoiser, denoiser.schedule, noises())
        )


def test_refusals():
    with pytest.raises(ConfigError, match=r"eta=-3[\s\S]*sampler\.eta"):
        DDIM(eta=-3.0)
    with pytest.raises(ConfigError, match=r"sampler\.steps=0"):
        DDPM(steps=0)


def test_large_eta_leaves_no_room_for_direction():
    denoiser = gaussian(linear(), V())
    out = DDIM(steps=10, eta=1.5).sample(denoiser, denoiser.schedule, noises())
    assert out.isfinite().all()
