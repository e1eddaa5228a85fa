"""Grids: the reference values of the papers' code, and what is refused."""

from typing import get_args

import pytest
import torch

from diffexp.codecs import Pixels
from diffexp.conditioning import Unconditional
from diffexp.diffusion import Denoiser, FixedSmall, Schedule, V, cosine, linear, with_snr
from diffexp.errors import ConfigError
from diffexp.model.model import Model
from diffexp.samplers import (
    DDIM,
    PNDM,
    Adaptive,
    DPMSolver,
    Heun,
    Midpoint,
    Spacing,
    sample,
    time_grid,
    with_calls,
)
from diffexp.samplers.sampler import check_start

LINEAR = linear()
SPACINGS = get_args(Spacing)


def indices(spacing, steps, T=1000):
    """0-based indices of the chain, rising, as the papers' code has them."""
    times = time_grid(linear(T), steps, spacing)[:-1]
    return (times * T).sub(1).flip(0).tolist()


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("schedule", [LINEAR, with_snr(cosine(), zero_terminal=True)], ids=["linear", "zero"])
def test_times_fall_from_the_noisiest_to_zero(spacing, schedule):
    for steps in (1, 5, 20, 25):
        times = time_grid(schedule, steps, spacing)
        assert len(times) == steps + 1 and times.dtype == torch.float64
        assert times[-1] == 0 and 0 < times[0] <= 1 and (times.diff() < 0).all()


@pytest.mark.parametrize(
    ("spacing", "steps", "want"),
    [
        ("trailing", 10, list(range(99, 1000, 100))),
        ("leading", 10, list(range(0, 1000, 100))),
        ("linspace", 10, [0, 111, 222, 333, 444, 555, 666, 777, 888, 999]),
        ("uniform", 10, list(range(0, 1000, 100))),
        ("quad", 5, [0, 50, 200, 450, 800]),
        ("stride", 10, list(range(0, 1000, 100))),
        ("trailing", 3, [332, 666, 999]),
        ("leading", 3, [0, 333, 666]),
    ],
)
def test_reference_indices(spacing, steps, want):
    assert indices(spacing, steps) == pytest.approx(want, abs=1e-9)


def test_quad_takes_coinciding_steps_once():
    assert indices("quad", 10) == pytest.approx([0, 9, 39, 88, 158, 246, 355, 483, 632, 800], abs=1e-9)
    times = indices("quad", 50)
    assert len(times) == len(set(times)) == 49  # 0, 0, 1, 2, ...: the first two coincide
    assert len(indices("quad", 100)) < 100


def test_uniform_and_stride_say_what_they_cannot_do():
    with pytest.raises(ConfigError, match=r"uniform makes 31 steps of 30 [\s\S]*sampler\.spacing=leading"):
        time_grid(LINEAR, 30, "uniform")
    with pytest.raises(ConfigError, match="no whole stride makes 999"):
        time_grid(LINEAR, 999, "stride")


def test_more_steps_than_the_chain_are_refused_on_it_and_allowed_between():
    for spacing in SPACINGS:
        if spacing in ("sgm_uniform", "sqrt_t", "power", "beta", "logsnr", "karras", "soft"):
            assert len(time_grid(linear(100), 300, spacing)) == 301
        else:
            with pytest.raises(ConfigError, match=r"sampler\.steps=2000 exceeds the 1000-step chain"):
                time_grid(LINEAR, 2000, spacing)


def test_positions_typed_by_hand():
    times = time_grid(LINEAR, 3, (1000, 321.5, 7))
    assert (times * 1000).tolist() == pytest.approx([1000, 321.5, 7, 0])
    assert DDIM(spacing=(900, 40)).steps == 2
    for wrong in ((1001.0, 3.0), (400.0, 0.0), (400.0, 0.9), (400.0, -3.0)):
        with pytest.raises(
            ConfigError, match=r"leaves the chain, whose positions are 1 to 1000[\s\S]*from 1000 down to 1"
        ):
            DDIM(spacing=wrong).grid(LINEAR)
    # what optimal.py makes is rounded to six digits, or not at all
    assert (time_grid(LINEAR, 2, (1000.0000004, 0.9999998))[:-1] * 1000).tolist() == pytest.approx([1000, 1])


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ((), "spacing=[] has no position"),
        ((40.0, 900.0), "spacing goes from 40 to 900, which is no decrease"),
        ((900.0, 900.0, 1.0), "spacing goes from 900 to 900"),
        ((1000.0, NAN, 1.0), "'nan' in spacing is not a finite number"),
        ((INF, 1.0), "'inf' in spacing is not a finite number"),
        ((1000.0, -INF), "'-inf' in spacing"),
        ((1000, "40"), "'40' in spacing is not a finite number"),
        ((True, 0.5), "'True' in spacing is not a finite number"),
        ((1000, None), "'None' in spacing"),
        ((1000, (40, 3)), "'(40, 3)' in spacing"),
        ((10**400, 3), "000' in spacing is not a finite number"),
        (7, "spacing=7 is neither a name nor a list of positions"),
        (None, "spacing=None is neither a name"),
        ({1000: 1}, "is neither a name"),
    ],
)
@pytest.mark.parametrize("make", [lambda s: DDIM(spacing=s), lambda s: time_grid(LINEAR, 2, s)])
def test_positions_are_finite_numbers_that_decrease(make, wrong, told):
    with pytest.raises(ConfigError) as refused:
        make(wrong)
    assert told in str(refused.value) and refused.value.where == "sampler.spacing"
    assert "sampler.spacing=[1000,700,300]" in refused.value.do


@pytest.mark.parametrize("sections", [(1.5, 2), ("2",), (True,), ()])
def test_sections_are_whole_numbers(sections):
    with pytest.raises(ConfigError, match=r"is not a list of whole numbers"):
        time_grid(LINEAR, 0, "trailing", sections=sections)


@pytest.mark.parametrize(
    ("times", "meant"),
    [
        ((1.0, 0.7, 0.3), "[1000,700,300]"),
        ((1, 0.7, 0.001), "[1000,700,1]"),
        ((0.999, 0.0001), "[999,1]"),
        ((1,), "[1000]"),
        ((1.0, 0.75, 0.5, 0.0), "[1000,750,500]"),
        (tuple(1 - k / 20 for k in range(20)), str([1000 - 50 * k for k in range(20)]).replace(" ", "")),
    ],
)
def test_times_typed_as_positions_are_refused_and_told_as_positions(times, meant):
    """Before, they were positions below the first step, and a sample was noise that was called image."""
    with pytest.raises(ConfigError) as refused:
        check_start(LINEAR, DDIM(spacing=times))
    assert f"they would be positions: type 'sampler.spacing={meant}'" in refused.value.do
    assert "positions are 1 to 1000" in refused.value.what or "is at position 1 of 1000" in refused.value.what


def test_a_sample_begins_where_x_is_more_noise_than_image():
    for schedule in (LINEAR, cosine(), linear(T=4000)):
        T = schedule.T
        for spacing in SPACINGS:
            for steps in (2, 5, 25):
                check_start(schedule, DDIM(steps=steps, spacing=spacing))
        for far in ((T / 4, T / 8), (1,)):  # [1000, 500] of another program in a chain of 4,000
            with pytest.raises(ConfigError, match=r"x is more image than noise \(σ/α = 0\.\d+\)"):
                check_start(schedule, DDIM(spacing=far))
    check_start(LINEAR, DDIM(spacing=(500, 40)))  # σ/α = 3.4
    for sampler in (DDIM(steps=1, spacing="leading"), DDIM(steps=1, spacing="quad"), DDIM(sections=(1,))):
        with pytest.raises(ConfigError, match=r"at position 1 of 1000[\s\S]*give more sampler\.steps"):
            check_start(cosine(), sampler)
    low = Schedule(torch.linspace(0, 0.5, 101, dtype=torch.float64))  # σ/α = 0.55 at the end
    for spacing in ("trailing", "leading", (100, 3), (60,)):
        check_start(low, DDIM(steps=10, spacing=spacing))
    with pytest.raises(ConfigError, match="position 40 of 100"):
        check_start(low, DDIM(spacing=(40, 3)))


def test_no_image_is_made_of_times_typed_as_positions():
    denoiser = Denoiser(torch.nn.Conv2d(1, 1, 1), LINEAR, V(), FixedSmall())
    model = Model(denoiser, Unconditional(), Pixels(), (1, 8, 8))
    with pytest.raises(ConfigError, match=r"type 'sampler\.spacing=\[1000,500\]'"):
        sample(model, 1, DDIM(spacing=(1.0, 0.5)))
    with pytest.raises(ConfigError, match=r"type 'sampler\.spacing=\[1000\]'"):
        sample(model, 1, DDIM(spacing=(1.0,)))


def test_sections_are_those_of_improved_diffusion():
    # space_timesteps(300, [10, 15, 20]): 0, 11, .. 99; 100, 107, .. 199; 200, 205, .. 299
    at = (time_grid(linear(300), 0, "trailing", sections=(10, 15, 20))[:-1] * 300).round().int() - 1
    low, mid, high = at.flip(0).split((10, 15, 20))
    assert low.tolist() == [0, 11, 22, 33, 44, 55, 66, 77, 88, 99]
    assert mid.tolist()[:3] == [100, 107, 114] and mid[-1] == 199
    assert high.tolist()[:3] == [200, 205, 210] and high[-1] == 299
    assert DDIM(sections=(10, 8, 6, 4, 2)).steps == 30
    assert len(DDIM(sections=(10, 8, 6, 4, 2)).grid(LINEAR)) == 31
    with pytest.raises(ConfigError, match=r"400 steps do not fit a part of 334 steps"):
        time_grid(LINEAR, 0, "trailing", sections=(400, 1, 1))


@pytest.mark.parametrize("spacing", [s for s in SPACINGS if s != "uniform"])
def test_the_last_call_can_be_at_the_first_step(spacing):
    times = time_grid(LINEAR, 10, spacing, end="first")
    assert len(times) == 11 and float(times[-2]) == pytest.approx(1 / 1000)
    if float(time_grid(LINEAR, 10, spacing)[-2]) == pytest.approx(1 / 1000):
        assert torch.equal(times, time_grid(LINEAR, 10, spacing))
    assert (time_grid(LINEAR, 1, (500,), end="first") * 1000).tolist() == pytest.approx([500, 1, 0])


def test_snap_rounds_to_the_chain_or_refuses():
    times = time_grid(LINEAR, 10, "karras", snap=True)[:-1] * 1000
    assert torch.equal(times, times.round())
    with pytest.raises(ConfigError, match=r"do not fall on different steps[\s\S]*sampler\.snap=false"):
        time_grid(LINEAR, 300, "logsnr", snap=True)
    between = time_grid(LINEAR, 10, "sqrt_t")[:-1] * 1000
    assert not torch.equal(between, between.round())


def test_full_chain_is_the_chain():
    want = torch.arange(1000, -1, -1, dtype=torch.float64) / 1000
    for spacing in ("trailing", "leading", "linspace", "uniform", "stride"):
        torch.testing.assert_close(time_grid(LINEAR, 1000, spacing), want, rtol=0, atol=1e-15)


KARRAS = [
    80, 57.586, 40.7856, 28.3746, 19.3525, 12.9101, 8.40094, 5.31519, 3.25682, 1.92334, 1.08817, 0.585348,
    0.296442, 0.139516, 0.0599473, 0.0229345, 0.00752802, 0.002,
]  # fmt: skip


def test_karras_is_the_papers():
    """A schedule from σ/α = 0.002 to beyond 80: the 18 levels of the paper."""
    low, high = torch.tensor([0.002, 100.0], dtype=torch.float64).atan().tolist()
    angles = torch.cat([torch.zeros(1).double(), torch.linspace(low, high, 4000, dtype=torch.float64)])
    schedule = Schedule(angles)
    ratios = schedule(time_grid(schedule, 18, "karras")[:-1]).ratio
    torch.testing.assert_close(ratios, torch.tensor(KARRAS, dtype=torch.float64), rtol=5e-6, atol=0)


def test_logsnr_is_even_in_lambda_and_soft_below_one():
    lam = LINEAR(time_grid(LINEAR, 20, "logsnr")[:-1]).lam
    torch.testing.assert_close(lam.diff(), lam.diff().mean().expand(19), rtol=1e-9, atol=0)
    soft = LINEAR(time_grid(LINEAR, 20, "soft")[:-1]).ratio.reciprocal().log1p()
    torch.testing.assert_close(soft.diff(), soft.diff().mean().expand(19), rtol=1e-9, atol=0)


def test_noise_level_spacings_start_at_80_where_there_is_no_signal():
    schedule = with_snr(cosine(), zero_terminal=True)
    for spacing in ("logsnr", "karras", "soft"):
        assert float(schedule(time_grid(schedule, 10, spacing)[0]).ratio) == pytest.approx(80, rel=1e-9)


def test_beta_spacing_is_dense_at_both_ends():
    gaps = -time_grid(LINEAR, 40, "beta")[:-1].diff()
    assert gaps[20] > 2 * gaps[1] and gaps[20] > 2 * gaps[-1]


def test_sqrt_t_is_even_to_the_end():
    for steps in (5, 31):
        roots = time_grid(LINEAR, steps, "sqrt_t").sqrt()
        torch.testing.assert_close(roots.diff(), torch.full((steps,), -1 / steps, dtype=torch.float64))
    assert float(time_grid(LINEAR, 200, "sqrt_t")[-2]) == pytest.approx(1 / 1000)


@pytest.mark.parametrize("calls", [5, 9, 20, 50])
def test_steps_are_found_for_calls(calls):
    for sampler, most in (
        (DDIM(), 0),
        (Heun(), 1),
        (DPMSolver(), 0),
        (PNDM(start="heun"), 0),
        (Midpoint(), 1),
    ):
        made = with_calls(sampler, calls, LINEAR)
        count = len(made.calls(LINEAR))
        assert calls - most <= count <= calls, made
        assert type(made) is type(sampler)
    with pytest.raises(ConfigError, match=r"chooses its steps itself"):
        with_calls(Adaptive(), calls, LINEAR)
