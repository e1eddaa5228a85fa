"""The learning rate at its corners."""

import pytest

from diffexp.errors import ConfigError
from diffexp.training import LearningRate


def test_constant_after_a_linear_rise():
    lr = LearningRate(steps=100, warmup=4)
    assert [lr(s) for s in (0, 1, 3, 4, 99)] == [0.25, 0.5, 1.0, 1.0, 1.0]
    assert LearningRate(steps=10)(0) == 1.0


def test_cosine_falls_to_its_end():
    lr = LearningRate(steps=110, warmup=10, shape="cosine", end=0.1)
    assert lr(9) == 1.0 and lr(10) == 1.0
    assert lr(60) == pytest.approx(0.55)
    assert lr(110) == pytest.approx(0.1) and lr(500) == pytest.approx(0.1)
    assert all(lr(s) > lr(s + 1) for s in range(10, 109))


def test_refusals():
    with pytest.raises(ConfigError, match=r"lr\.warmup"):
        LearningRate(steps=10, warmup=-1)
    with pytest.raises(ConfigError, match=r"lr\.end"):
        LearningRate(steps=10, end=2.0)
