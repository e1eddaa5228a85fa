"""Every combination of the options either samples, or is refused in one sentence."""

import itertools
from dataclasses import replace
from functools import partial
from typing import get_args

import pytest
import torch
from oracle import gaussian

from diffexp.diffusion import (
    EDM,
    X0,
    ClassifierFree,
    ClassLabel,
    Eps,
    FixedLarge,
    FixedSmall,
    LearnedRange,
    Pixels,
    Static,
    V,
    cosine,
    linear,
    quad,
    scaled_linear,
    sigmoid,
    sigmoid_beta,
    with_snr,
)
from diffexp.errors import ConfigError
from diffexp.randomness import Noise
from diffexp.samplers import (
    DDIM,
    DDPM,
    PNDM,
    Adams,
    DPMSolver,
    DPMSolverPP,
    Heun,
    Midpoint,
    Model,
    Spacing,
    UniPC,
    nfe,
)

SCHEDULES = [linear, scaled_linear, quad, cosine, sigmoid, sigmoid_beta]
PREDICTIONS = [Eps(), X0(), V(), EDM()]
VARIANCES = [FixedSmall(), FixedLarge(), LearnedRange()]
MEANS = torch.tensor([-0.5, 0.5, 0.0], dtype=torch.float64)  # two classes, and both
STEPS = 4
SOLVERS = [
    Heun, Midpoint, partial(Midpoint, eta=1.0), DPMSolverPP, partial(DPMSolverPP, order=3, eta=1.0), UniPC,
    partial(UniPC, order=3, form="bh1"), partial(Adams, order=3, corrector=True),
    DPMSolver, partial(DPMSolver, order=2, hold="x0"),
    partial(Adams, order=3, hold="eps", of="t"), partial(Adams, order=4, hold="eps", of="ratio"),
    *(partial(PNDM, start=start) for start in ("lower", "heun", "runge_kutta")),
]  # fmt: skip


def model(schedule, prediction, variance):
    return Model(gaussian(schedule, prediction, variance, MEANS, 0.1), ClassLabel(), Pixels(), (1, 4, 4), 2)


@pytest.mark.parametrize("zero", [False, True], ids=["", "zero"])
@pytest.mark.parametrize("make", SCHEDULES, ids=lambda f: f.__name__)
def test_every_combination_samples_or_is_refused(make, zero):
    schedule = with_snr(make(), zero_terminal=zero)
    for prediction, variance in itertools.product(PREDICTIONS, VARIANCES):
        if zero and isinstance(prediction, Eps):
            with pytest.raises(ConfigError, match="eps-prediction cannot recover x0 at zero terminal SNR"):
                model(schedule, prediction, variance)
            continue
        known = model(schedule, prediction, variance)
        for spacing, scale in itertools.product(get_args(Spacing), (1.0, 2.0)):
            for kind in (DDIM, DDPM):
                _sampled(known, kind(steps=STEPS, spacing=spacing), ClassifierFree(scale))


@pytest.mark.parametrize("zero", [False, True], ids=["", "zero"])
@pytest.mark.parametrize("make", SCHEDULES, ids=lambda f: f.__name__)
def test_every_solver_on_every_grid(make, zero):
    known = model(with_snr(make(), zero_terminal=zero), V(), FixedSmall())
    for solver, spacing in itertools.product(SOLVERS, get_args(Spacing)):
        sampler = solver(steps=10, spacing=spacing)
        if isinstance(sampler, DPMSolver):  # of calls: five steps of the grid
            sampler = replace(sampler, steps={2: 9, 3: 12}[sampler.order])
        if spacing == "soft" and isinstance(sampler, PNDM) and sampler.start != "lower":
            continue  # its first steps are too long for them, as they say
        _sampled(known, sampler, ClassifierFree(1.0))


def _sampled(known, sampler, guidance):
    known.check(sampler, guidance)
    noise = Noise(0, torch.arange(2), known.shape)
    denoise = known.guided(guidance, Static())
    x = sampler.sample(denoise, known.denoiser.schedule, noise, torch.tensor([0, 1]))
    assert x.isfinite().all() and float(x.abs().max()) <= 1.3
    # each class on its side, farther out under guidance
    means = x.flatten(1).mean(1)
    assert means[0] < -0.2 and means[1] > 0.2, (sampler, guidance)
    if isinstance(sampler, DDIM | DDPM):
        assert nfe(sampler, guidance, known) == STEPS * (2 if guidance.scale == 2 else 1)


def test_guidance_of_a_model_without_null_label_is_refused():
    known = model(cosine(), V(), FixedSmall())
    alone = Model(known.denoiser, ClassLabel(dropout=0.0), Pixels(), (1, 4, 4), 2)
    with pytest.raises(ConfigError, match=r"guidance\.scale=2 needs a model trained with and without"):
        alone.check(DDIM(), ClassifierFree(2.0))
    alone.check(DDIM(), ClassifierFree(1.0))
