"""DPM-Solver with adaptive steps."""

import pytest
import torch
from oracle import classes, gaussian
from test_orders import SCHEDULES, exact

from diffexp.codecs import Pixels
from diffexp.condition import Asked
from diffexp.diffusion import ClassifierFree, FixedSmall, Mixture, NoClip, V, linear
from diffexp.diffusion.denoiser import Denoiser
from diffexp.errors import ConfigError, DivergedError
from diffexp.model.model import Model
from diffexp.samplers import Adaptive

X = torch.randn(6, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_the_error_falls_with_the_tolerance(schedule, order):
    denoiser, errors = gaussian(schedule, V()), []
    for tolerance in (0.1, 0.01, 0.0001):
        sampler = Adaptive(order=order, rtol=tolerance, atol=tolerance)
        points = [x for x, _ in sampler.run(denoiser, schedule, lambda k: X)]
        start, last, _ = sampler.grid(schedule)
        errors.append(float((points[-2] - exact(schedule, X, start, last)).abs().max()))
    assert errors[2] < errors[1] / 10 < errors[0] / 20 and errors[2] < 0.0005


def test_each_image_has_steps_of_its_own():
    """The same in any batch, under guidance too, whose interval it meets when it comes to it."""
    schedule, variance = linear(), FixedSmall()
    network = Mixture(schedule, V(), variance, num_classes=2)
    model = Model(Denoiser(network, schedule, V(), variance), classes(2), Pixels(), (1, 4, 4), ("a", "b"))
    asked, sampler = Asked(6, torch.tensor([0, 1, 0, 1, 0, 1])), Adaptive()
    denoise, cond = model.denoise(ClassifierFree(2.0, interval=(0.3, 5.0)), NoClip(), asked)
    together = sampler.sample(denoise, schedule, lambda k: X, cond)
    for i in range(6):
        alone = sampler.sample(denoise, schedule, lambda k, i=i: X[i : i + 1], cond[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone, rtol=0, atol=1e-12)


def test_an_image_that_finds_no_end_is_given_up():
    schedule = linear()
    with pytest.raises(DivergedError, match="no end after 3 tries"):
        Adaptive(tries=3).sample(gaussian(schedule, V()), schedule, lambda k: X)


@pytest.mark.parametrize("wrong", [{"order": 1}, {"rtol": -1.0}, {"rtol": 0.0, "atol": 0.0}, {"first": 0.0}])
def test_wrong_options_are_refused(wrong):
    with pytest.raises(ConfigError, match="sampler"):
        Adaptive(**wrong)
