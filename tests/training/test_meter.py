"""Means by quarter of t, and what is not finite."""

import math
import time

import pytest
import torch

from diffexp.diffusion import Losses
from diffexp.training.meter import Meter


def losses(t, mse, weight=2.0):
    t, mse = torch.tensor(t, dtype=torch.float64), torch.tensor(mse)
    part = weight * mse
    return Losses(part.mean(), t, mse, 8 * t - 7, 2 * mse.sqrt(), None, t.float(), {"simple": part})


def test_quarters_and_means():
    meter = Meter()
    meter.add(losses([0.001, 0.25, 0.2501, 1.0], [1.0, 3.0, 5.0, 7.0]))
    meter.add(losses([0.6], [9.0]))
    meter.grad_norm = torch.tensor(0.5)
    told = meter.take()
    assert told["train/loss"] == pytest.approx(2 * (1 + 3 + 5 + 7 + 9) / 5)
    want = {"by_t/mse_q1": 2.0, "by_t/mse_q2": 5.0, "by_t/mse_q3": 9.0, "by_t/mse_q4": 7.0}
    want |= {"by_snr/mse_1": 1.0, "by_snr/mse_2": 4.0, "by_snr/mse_3": 9.0, "by_snr/mse_4": 7.0}
    want |= {"by_t/gradient_q3": 6.0, "by_snr/vlb_4": 1.0}
    assert {k: told[k] for k in want} == want
    assert "by_snr/mse_5" not in told and "by_t/frac_q1" not in told and "train/loss_simple" not in told
    assert told["train/grad_norm"] == 0.5 and told["train/images_per_s"] > 0
    meter.add(losses([0.1], [4.0]))
    again = meter.take(lambda sums: 2 * sums)  # as of two ranks that have seen the same
    assert again["train/loss"] == 8.0 and "by_t/mse_q2" not in again and "train/grad_norm" not in again


def test_clock_stands_during_validation():
    meter = Meter()
    meter.add(losses([0.1] * 100, [1.0] * 100))
    meter.pause()
    time.sleep(0.3)
    meter.go_on()
    assert meter.take()["train/images_per_s"] > 100 / 0.3


def test_what_is_not_finite_is_told_of_the_loss_alone():
    meter = Meter()
    meter.add(losses([0.5], [float("nan")]))
    told = meter.take()
    assert math.isnan(told["train/loss"]) and "by_t/mse_q2" not in told
