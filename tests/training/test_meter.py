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


def test_a_checkpoint_holds_the_sums_of_all_ranks_and_the_first_goes_on_from_them():
    """Of two ranks that have seen other images; then on one, two and three."""
    seen = [losses([0.1, 0.3], [1.0, 2.0]), losses([0.6, 0.9], [4.0, 8.0])]
    meters = [Meter(), Meter()]
    for meter, one in zip(meters, seen, strict=True):
        meter.add(one)
    whole = sum(meter.state()["sums"] for meter in meters)
    state = meters[0].state(lambda sums: sums + meters[1].state()["sums"])
    assert torch.equal(state["sums"], whole) and float(meters[0].state()["sums"][-1]) == 2
    for ranks in (1, 2, 3):
        after = [Meter() for _ in range(ranks)]
        for rank, meter in enumerate(after):
            meter.restore(state, rank)
            meter.add(losses([0.1], [5.0]))
        told = after[0].take(lambda sums, after=after: sum(m.state()["sums"] for m in after))
        assert told["train/loss"] == pytest.approx(2 * (15 + 5 * ranks) / (4 + ranks))
        assert told["by_t/mse_q1"] == pytest.approx((1 + 5 * ranks) / (1 + ranks))


@pytest.mark.parametrize(
    "change",
    [
        {"sums": "text"}, {"sums": torch.zeros(3)}, {"sums": torch.zeros(43, dtype=torch.long)},
        {"parts": 3}, {"columns": [1, 2, 3]}, {"columns": None},
    ],
)  # fmt: skip
def test_sums_that_are_none_are_refused(change):
    meter = Meter()
    meter.add(losses([0.1], [4.0]))
    state = meter.state()
    Meter().restore(state)
    with pytest.raises(ValueError, match="the running sums"):
        Meter().restore(state | change)


def test_sums_of_a_version_with_other_columns_are_left_out():
    meter, other = Meter(), Meter()
    meter.add(losses([0.1], [4.0]))
    other.restore({"sums": torch.ones(10 * 2 + 1 + 2), "parts": ["simple"], "columns": ["mse"]})
    other.add(losses([0.1], [4.0]))
    assert other.take()["train/loss"] == meter.take()["train/loss"] == 8.0


def test_the_loss_of_each_part_of_a_mixture_is_its_mean():
    """Over batches, ranks, a checkpoint between them, and beside a part of the loss of the same name."""
    names, whole, one = ["own", "simple"], Meter(), losses([0.1, 0.2, 0.3], [1.0, 2.0, 6.0])
    whole.add(one, torch.tensor([0, 1, 1]), names)
    again = Meter()
    again.restore(whole.state())
    for meter in (whole, again):
        meter.add(losses([0.5], [5.0]), torch.tensor([0]), names)
    told = whole.take(lambda sums: 2 * sums)
    assert (told["train/loss_own"], told["train/loss_simple"]) == (2 * 3, 2 * 4)
    assert told["train/loss"] == (2 * 6 + 2 * 8) / 4
    after = again.take()
    assert {k: v for k, v in after.items() if "loss" in k} == {k: v for k, v in told.items() if "loss" in k}
    whole.add(losses([0.5], [5.0]), torch.tensor([1]), names)
    assert "train/loss_own" not in whole.take()
    for wrong in ([], {"names": ["a"], "sums": torch.ones(1)}, {"names": [1], "sums": torch.ones(1, 2)}):
        with pytest.raises(ValueError, match="parts of the mixture"):
            again.restore({**a_state(), "mixed": wrong})


def a_state():
    meter = Meter()
    meter.add(losses([0.5], [5.0]))
    return meter.state()
