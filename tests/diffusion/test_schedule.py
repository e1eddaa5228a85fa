"""Schedules against the published numbers, and the identities that every schedule keeps."""

import math

import pytest
import torch

from diffexp.diffusion import (
    Schedule,
    cosine,
    flow,
    linear,
    quad,
    scaled_linear,
    sigmoid,
    sigmoid_beta,
    with_snr,
)
from diffexp.errors import ConfigError

ALL = [linear, scaled_linear, quad, cosine, sigmoid, sigmoid_beta, flow]
ANY = [(make, T) for make in ALL for T in (50, 1000, 4000)] + [(cosine, 2), (sigmoid, 2), (linear, 21)]
WITHIN = torch.linspace(1e-5, 1 - 3e-5, 99, dtype=torch.float64)  # between the points of the chain


def chain(schedule):
    """t = 1/T .. 1."""
    return torch.arange(1, schedule.T + 1, dtype=torch.float64) / schedule.T


def alpha_bar(schedule, i):
    """Of the 0-based index i."""
    return float(schedule(chain(schedule)[i]).alpha ** 2)


@pytest.mark.parametrize(
    ("make", "i", "value"),
    [
        (linear, 999, 4.035830e-5),
        (scaled_linear, 999, 4.660099e-3),
        (cosine, 999, 2.4288e-9),
        (cosine, 500, 0.49228517),
        (sigmoid, 500, 0.49834282),
        (sigmoid_beta, 999, 3.968e-5),
    ],
)
def test_the_remaining_signal_is_the_published_one(make, i, value):
    digits = len(f"{value:e}".split("e")[0].rstrip("0")) - 2
    assert alpha_bar(make(), i) == pytest.approx(value, rel=0.6 * 10.0**-digits)


@pytest.mark.parametrize("T", [50, 1000, 4000])
def test_beta_schedules_are_products_of_their_betas(T):
    k = 1000 / T
    ramp = [i / (T - 1) for i in range(T)]
    root = [(1e-4 * k) ** 0.5 + u * ((0.02 * k) ** 0.5 - (1e-4 * k) ** 0.5) for u in ramp]
    betas = {
        linear: [k * (1e-4 + u * (0.02 - 1e-4)) for u in ramp],
        quad: [r * r for r in root],
        sigmoid_beta: [k * (1e-4 + (0.02 - 1e-4) / (1 + math.exp(6 - 12 * u))) for u in ramp],
    }
    for make, beta in betas.items():
        log = math.fsum(math.log1p(-b) for b in beta)
        assert math.log(alpha_bar(make(T), T - 1)) == pytest.approx(log, rel=1e-10)


def test_just_one_beta_of_cosine_is_clipped():
    a = cosine()(chain(cosine())).alpha ** 2
    beta = 1 - a / torch.cat([torch.ones(1), a[:-1]])
    assert ((beta - 0.999).abs() < 1e-9).sum() == 1
    assert beta.max() < 0.999 + 1e-9


@pytest.mark.parametrize(("make", "T"), ANY, ids=lambda x: getattr(x, "__name__", x))
def test_every_schedule_rises_on_the_unit_circle(make, T):
    schedule = make(T=T)
    assert schedule.T == T and schedule.angles.dtype == torch.float64
    t = torch.cat([torch.zeros(1), chain(schedule), WITHIN])
    level = schedule(t)
    torch.testing.assert_close(level.alpha**2 + level.sigma**2, torch.ones_like(t), rtol=0, atol=1e-15)
    assert (schedule.angle(t.sort().values).diff() > 0).all()
    assert level.alpha[0] == 1 and level.sigma[0] == 0


@pytest.mark.parametrize(("make", "T"), ANY, ids=lambda x: getattr(x, "__name__", x))
@pytest.mark.parametrize("zero", [False, True])
def test_time_is_the_inverse_of_angle(make, T, zero):
    schedule = with_snr(make(T=T), zero_terminal=zero)
    t = torch.cat([torch.tensor([0.0, 1.0]), chain(schedule), WITHIN])
    torch.testing.assert_close(schedule.time(schedule.angle(t)), t, rtol=0, atol=1e-12)
    assert schedule.time(schedule.angle(WITHIN.view(33, 3).T)).shape == (3, 33)
    assert schedule.time(schedule.angles[3 % T]).shape == ()


def test_angles_between_the_points_of_the_chain_are_linear():
    s = linear()
    mid = s.angle(torch.tensor(10.25 / 1000, dtype=torch.float64))
    assert float(mid) == pytest.approx(float(0.75 * s.angles[10] + 0.25 * s.angles[11]), rel=1e-14)


def test_level_gives_ratio_snr_and_lambda():
    level = Schedule.from_alpha_bar(torch.tensor([0.8, 0.2]))(torch.tensor(0.5, dtype=torch.float64))
    assert float(level.snr) == pytest.approx(4, rel=1e-7)  # .8 is float32 here
    assert float(level.ratio) == pytest.approx(0.5, rel=1e-7)
    assert float(level.lam) == pytest.approx(math.log(2), rel=1e-7)


@pytest.mark.parametrize("make", ALL)
@pytest.mark.parametrize("size", [16, 128, 256])
def test_the_shift_moves_log_snr_by_twice_log_64_over_size(make, size):
    base, moved = make(), with_snr(make(), shift=size / 64)
    t = chain(base)[: 999 if base.zero_terminal else 1000]
    by = moved(t).snr.log() - base(t).snr.log()
    torch.testing.assert_close(by, torch.full_like(by, 2 * math.log(64 / size)), rtol=0, atol=1e-9)


def test_zero_terminal_snr_of_linear_is_the_published_one():
    base, zero = linear(), with_snr(linear(), zero_terminal=True)
    assert alpha_bar(zero, 998) == pytest.approx(4.213e-9, rel=2e-4)
    assert alpha_bar(zero, 0) == pytest.approx(alpha_bar(base, 0), rel=1e-14)
    last = zero(torch.ones((), dtype=torch.float64))
    assert last.alpha == 0 and last.sigma == 1 and zero.zero_terminal and not base.zero_terminal
    root, new = (s(chain(s)).alpha for s in (base, zero))  # an affine map of √ᾱ
    slope = new.diff() / root.diff()
    torch.testing.assert_close(slope, slope[:1].expand(999), rtol=1e-7, atol=0)


@pytest.mark.parametrize(("make", "T"), ANY, ids=lambda x: getattr(x, "__name__", x))
def test_any_schedule_may_be_shifted_and_brought_to_zero(make, T):
    s = with_snr(make(T=T), shift=4.0, zero_terminal=True)
    assert s.zero_terminal and (s.angles.diff() > 0).all() and s.angles[-1] == math.pi / 2
    assert with_snr(s, zero_terminal=True) is s
    assert with_snr(s, shift=0.5).zero_terminal


def test_a_cosine_without_clipping_ends_at_zero():
    assert cosine(max_beta=1.0).zero_terminal


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: linear(T=1), "T=1 is too short a chain"),
        (lambda: linear(T=2), "raise schedule.T to 21 or more, or lower schedule.end"),
        (lambda: scaled_linear(T=12), "raise schedule.T to 13 or more, or lower schedule.end"),
        (lambda: sigmoid_beta(T=5), "raise schedule.T to 20 or more, or lower schedule.end"),
        (lambda: linear(start=0.0), "give positive start and end"),
        (lambda: quad(start=-1.0), "give positive start and end"),
        (lambda: sigmoid(start=1.0, end=0.0), "give start < end and tau > 0"),
        (lambda: sigmoid(start=-99.0, end=99.0), "noise does not rise at every step of the schedule"),
        (lambda: cosine(max_beta=2.0), "give s >= 0 and max_beta in (0, 1]"),
        (lambda: with_snr(linear(), shift=0.0), "give a positive number, e.g. image size / 64"),
        (lambda: Schedule(torch.tensor([0.0, 1.0, 0.5], dtype=torch.float64)), "noise does not rise"),
        (lambda: Schedule(torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64)), "noise does not rise"),
    ],
)
def test_what_is_no_schedule_is_refused(call, line):
    with pytest.raises(ConfigError) as error:
        call()
    assert line in str(error.value)


def test_the_chain_that_the_message_names_is_long_enough():
    assert linear(T=21).T == 21 and scaled_linear(T=13).T == 13 and sigmoid_beta(T=20).T == 20
