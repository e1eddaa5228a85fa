"""Every combination of the options either samples, or is refused in one sentence."""

import itertools
import math
import random
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import get_args

import pytest
import torch
from oracle import classes, gaussian, moments

from diffexp.codecs import Pixels
from diffexp.condition import Asked
from diffexp.diffusion import (
    EDM,
    X0,
    ClassifierFree,
    Dynamic,
    Eps,
    FixedLarge,
    FixedSmall,
    Flow,
    Learned,
    LearnedRange,
    Mean,
    NoClip,
    Static,
    V,
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
from diffexp.model.model import Model
from diffexp.randomness import Noise
from diffexp.samplers import (
    DDIM,
    DDPM,
    PNDM,
    Adams,
    DPMSolver,
    DPMSolverPP,
    DPMSolverSDE,
    Heun,
    Midpoint,
    Restart,
    Spacing,
    UniPC,
    check,
    nfe,
)

SCHEDULES = [linear, scaled_linear, quad, cosine, sigmoid, sigmoid_beta, flow]
PREDICTIONS = [Eps(), X0(), V(), Flow(), EDM(), Mean(linear())]
VARIANCES = [FixedSmall(), FixedLarge(), LearnedRange(), Learned()]
MEANS, STD = torch.tensor([-0.5, 0.5, 0.0], dtype=torch.float64), 0.1  # two classes, and both
STEPS, SIZE = 4, 16
ETAS, CLIPS = (0.0, 0.5, 1.0, "hat"), (NoClip(), Static(), Dynamic())
CONF = Path(__file__).parents[2] / "conf"
SOLVERS = [
    Heun, Midpoint, partial(Midpoint, eta=1.0), DPMSolverPP, partial(DPMSolverPP, order=3, eta=1.0), UniPC,
    partial(UniPC, order=3, form="bh1"), Restart, DPMSolverSDE,
    partial(DPMSolverPP, eta=1.0, brownian=True), partial(Adams, order=3, corrector=True),
    DPMSolver, partial(DPMSolver, order=2, hold="x0"),
    partial(Adams, order=3, hold="eps", of="t"), partial(Adams, order=4, hold="eps", of="ratio"),
    *(partial(PNDM, start=start) for start in ("lower", "heun", "runge_kutta")),
]  # fmt: skip


def model(schedule, prediction, variance):
    if isinstance(prediction, Mean):
        prediction = Mean(schedule)
    denoiser = gaussian(schedule, prediction, variance, MEANS, STD)
    return Model(denoiser, classes(2), Pixels(), (1, SIZE, SIZE), ("a", "b"))


def test_no_option_is_left_out():
    for group, ours in (("schedule", SCHEDULES), ("prediction", PREDICTIONS), ("variance", VARIANCES)):
        found = {line for file in (CONF / group).glob("*.yaml") for line in file.read_text().splitlines()}
        names = {line.rpartition(".")[2] for line in found if line.startswith("_target_")}
        assert names == {getattr(o, "__name__", type(o).__name__) for o in ours}


QUICK = {(cosine, False), (flow, True)}  # the others differ by their numbers alone
PAIRS = [
    pytest.param(
        make, zero, marks=() if (make, zero) in QUICK else pytest.mark.slow, id=f"{make.__name__}-{zero}"
    )
    for make, zero in itertools.product(SCHEDULES, (False, True))
]


@pytest.mark.parametrize(("make", "zero"), PAIRS)
def test_every_combination_samples_or_is_refused(make, zero):
    """η, the clip and five of the spacings are drawn: each meets each scale several times."""
    schedule, draw = with_snr(make(), zero_terminal=zero), random.Random(0)
    noise = cache(Noise(0, torch.arange(2), (1, SIZE, SIZE)))
    for prediction, variance in itertools.product(PREDICTIONS, VARIANCES):
        if schedule.zero_terminal and isinstance(prediction, Eps):
            with pytest.raises(ConfigError, match="eps-prediction cannot recover x0 at zero terminal SNR"):
                model(schedule, prediction, variance)
            continue
        known = model(schedule, prediction, variance)
        for spacing, scale in itertools.product(draw.sample(get_args(Spacing), 5), (1.0, 2.0)):
            ddim = DDIM(steps=STEPS, spacing=spacing, eta=draw.choice(ETAS))
            for sampler in (ddim, DDPM(steps=STEPS, spacing=spacing)):
                guidance, clip = ClassifierFree(scale), draw.choice(CLIPS)
                x = _sampled(known, sampler, guidance, clip, noise)
                assert nfe(sampler, guidance, known) == STEPS * scale
                if isinstance(clip, NoClip):
                    _has_moments(x, *moments(sampler, known.denoiser, 0.5 * scale, STD))


def _has_moments(x, mean, var):
    """Of both classes, whose means differ in sign."""
    n, std = x.numel(), math.sqrt(var)
    signed = x.double() * torch.tensor([-1, 1]).view(-1, 1, 1, 1)
    assert float(signed.mean()) == pytest.approx(mean, abs=5 * std / math.sqrt(n))
    assert float((signed - mean).pow(2).mean().sqrt()) == pytest.approx(std, rel=5 / math.sqrt(2 * n))


@pytest.mark.parametrize(("make", "zero"), PAIRS)
def test_every_solver_on_every_grid(make, zero):
    known = model(with_snr(make(), zero_terminal=zero), V(), FixedSmall())
    noise = cache(Noise(0, torch.arange(2), known.shape))
    for solver, spacing in itertools.product(SOLVERS, get_args(Spacing)):
        sampler = solver(steps=10, spacing=spacing)
        if isinstance(sampler, DPMSolver):  # of calls: five steps of the grid
            sampler = replace(sampler, steps={2: 9, 3: 12}[sampler.order])
        if spacing == "soft" and isinstance(sampler, PNDM) and sampler.start != "lower":
            continue  # its first steps are too long for them, as they say
        _sampled(known, sampler, ClassifierFree(1.0), Static(), noise)


def _sampled(known, sampler, guidance, clip, noise):
    check(known, sampler, guidance)
    denoise, cond = known.denoise(guidance, clip, Asked(2, torch.tensor([0, 1])))
    x = sampler.sample(denoise, known.denoiser.schedule, noise, cond)
    assert x.isfinite().all()
    assert isinstance(clip, NoClip) or float(x.abs().max()) <= 1.3
    # each class on its side, farther out under guidance
    means = x.flatten(1).mean(1)
    assert means[0] < -0.15 and means[1] > 0.15, (sampler, guidance, clip)
    return x


def test_guidance_of_a_model_without_null_label_is_refused():
    known = model(cosine(), V(), FixedSmall())
    alone = Model(known.denoiser, classes(2, dropout=0.0), Pixels(), (1, 4, 4), ("a", "b"))
    with pytest.raises(ConfigError, match=r"guidance\.scale=2 needs a model trained with and without"):
        check(alone, DDIM(), ClassifierFree(2.0))
    check(alone, DDIM(), ClassifierFree(1.0))
