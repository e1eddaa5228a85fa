"""Samplers with noise of their own: what they leave of a Gaussian, and the Brownian path under them."""

import math
from itertools import pairwise

import pytest
import torch
from oracle import flow, gaussian

from diffexp.diffusion import V, cosine, linear, with_snr
from diffexp.errors import ConfigError
from diffexp.randomness import Noise
from diffexp.samplers import DDIM, DPMSolver, DPMSolverPP, DPMSolverSDE, Heun, Restart
from diffexp.samplers.brownian import Brownian

MEAN, STD, N = 0.2, 0.5, 30_000


def noises(shape=(1, 1, N, 1)):
    return lambda k: torch.randn(
        shape, generator=torch.Generator().manual_seed(k % 2**31), dtype=torch.float64
    )


def path(points, eta=1.0, schedule=None, n=N):
    """The unit noise of each step between the points."""
    brownian = Brownian(schedule or linear(), noises((1, 1, n, 1)), eta)
    times = [torch.tensor(p, dtype=torch.float64) for p in points]
    return [brownian(t, s).flatten() for t, s in pairwise(times)]


@pytest.mark.parametrize("zero", [False, True])
def test_steps_of_a_path_are_normal_and_independent(zero):
    parts = torch.stack(
        path([1.0, 0.83, 0.5, 0.25, 0.249, 0.01], schedule=with_snr(linear(), zero_terminal=zero))
    )
    assert float(parts.mean(1).abs().max()) < 4 / math.sqrt(N)
    torch.testing.assert_close(
        torch.cov(parts), torch.eye(len(parts)).double(), rtol=0, atol=5 / math.sqrt(N)
    )


def test_a_path_does_not_depend_on_the_steps_that_look_at_it():
    """What two steps add is what one step over both adds."""
    schedule, eta = cosine(), 0.7
    t, u, s = (schedule(torch.tensor(v, dtype=torch.float64)).lam for v in (0.9, 0.4, 0.1))
    (whole,), (first, second) = path([0.9, 0.1], eta, schedule, 50), path([0.9, 0.4, 0.1], eta, schedule, 50)
    clock = [(2 * eta * lam).exp() for lam in (t, u, s)]
    both = first * (clock[1] - clock[0]).sqrt() + second * (clock[2] - clock[1]).sqrt()
    torch.testing.assert_close(
        both / (clock[2] - clock[0]).sqrt(), whole, rtol=0, atol=1e-5
    )  # times are in 2⁻²⁰


def test_more_steps_follow_the_same_path_more_closely():
    schedule, noise = linear(), Noise(3, torch.arange(64), (1, 4, 4))
    ends = [
        DPMSolverPP(steps=n, eta=1.0, spacing="logsnr", brownian=True).sample(
            gaussian(schedule, V()), schedule, noise
        )
        for n in (25, 50, 100, 200)
    ]
    far = [float((x - ends[-1]).square().mean().sqrt()) for x in ends[:-1]]
    assert far[2] < far[1] < far[0] < 0.2 and far[2] < 0.05
    other = DPMSolverPP(steps=100, eta=1.0, spacing="logsnr").sample(gaussian(schedule, V()), schedule, noise)
    assert float((other - ends[-1]).square().mean().sqrt()) > 0.4  # without it they are other images


def test_ddim_of_eta_one_is_the_solver_of_order_one_on_the_same_path():
    schedule, noise = linear(), noises((2, 1, 3, 3))
    ends = [
        sampler.sample(gaussian(schedule, V()), schedule, noise)
        for sampler in (
            DDIM(steps=12, eta=1.0, brownian=True),
            DPMSolverPP(order=1, steps=12, eta=1.0, brownian=True),
        )
    ]
    torch.testing.assert_close(*ends, rtol=0, atol=1e-12)


@pytest.mark.parametrize("eta", [0.5, 1.0, "hat"])
def test_more_steps_of_ddim_are_nearer_on_one_path(eta):
    """The distance between 50 and 100 steps, on one path and with noise of their own."""
    schedule, noise = linear(), Noise(3, torch.arange(64), (1, 4, 4))

    def between(brownian):
        few, many = (
            DDIM(steps=n, eta=eta, brownian=brownian).sample(gaussian(schedule, V()), schedule, noise)
            for n in (50, 100)
        )
        return float((few - many).square().mean().sqrt())

    assert between(True) < 0.5 * between(False)


@pytest.mark.parametrize(
    "sampler",
    [
        pytest.param(DPMSolverSDE(steps=60), marks=pytest.mark.slow), DPMSolverSDE(steps=60, eta=0.5, r=0.4),
        pytest.param(DPMSolverPP(steps=60, eta=1.0, spacing="karras", brownian=True), marks=pytest.mark.slow),
        Restart(steps=40, restarts=((0.06, 0.3, 4, 3), (1.0, 20.0, 5, 2))),
    ],
    ids=str,
)  # fmt: skip
def test_fresh_noise_keeps_the_data(sampler):
    schedule = linear()
    x = sampler.sample(gaussian(schedule, V()), schedule, noises())
    assert float(x.mean()) == pytest.approx(MEAN, abs=0.02)
    assert float(x.std()) == pytest.approx(STD, rel=0.03)


def test_without_noise_they_are_their_odes():
    schedule, denoiser = cosine(), gaussian(cosine(), V())
    pairs = (
        (DPMSolverSDE(steps=7, eta=0.0, spacing="logsnr"), DPMSolver(steps=13, order=2, hold="x0")),
        (Restart(steps=7, restarts=()), Heun(steps=7)),
        (Restart(steps=7, restarts=((0.06, 0.3, 4, 0),)), Heun(steps=7)),
        (DPMSolverPP(steps=7, brownian=True), DPMSolverPP(steps=7)),
    )
    for a, b in pairs:
        x, y = (s.sample(denoiser, schedule, noises((2, 1, 2, 2))) for s in (a, b))
        torch.testing.assert_close(x, y, rtol=0, atol=1e-12)


def test_restarts_go_up_where_they_say_and_cost_what_they_say():
    schedule = linear()
    sampler = Restart(steps=18, restarts=((0.06, 0.3, 4, 2),))
    ratios = schedule(sampler.calls(schedule)).ratio
    assert len(ratios) == 35 + 2 * 4 * 2
    rises = (ratios.diff() > 1e-9).nonzero().flatten()
    assert len(rises) == 2
    assert [float(ratios[i + 1]) for i in rises] == pytest.approx([0.3, 0.3])
    assert float(ratios[rises[0]]) == pytest.approx(0.0652, abs=1e-4)  # the nearest of the grid, to 0.06


def test_restart_corrects_what_went_wrong_before():
    """x that is off at σ/α = 0.06 comes closer to the data."""
    schedule, denoiser = linear(), gaussian(linear(), V())
    start = flow(schedule, noises()(0), torch.ones(()).double()) * 0 + 3.0  # far from the data

    def spread(sampler):
        x = sampler.sample(denoiser, schedule, lambda k: start if k == 0 else noises()(k))
        return abs(float(x.mean()) - MEAN)

    many = Restart(steps=10, restarts=((0.5, 8.0, 6, 4),))
    assert spread(many) < 0.3 * spread(Heun(steps=10))


@pytest.mark.parametrize("wrong", [((0.3, 0.06, 4, 2),), ((0.0, 0.3, 4, 2),), ((0.06, 0.3, 0, 2),)])
def test_wrong_restarts_are_refused(wrong):
    with pytest.raises(ConfigError, match=r"sampler\.restarts"):
        Restart(restarts=wrong)
