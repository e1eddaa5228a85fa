"""Importance sampling of times: its memory, its weights, that it is unbiased, and what it saves."""

import pytest
import torch
from oracle import gaussian

from diffexp.diffusion import Chain, Eps, FixedSmall, Importance, Objective, Uniform, cosine
from diffexp.errors import ConfigError
from diffexp.randomness import generator


def filled(schedule, of, history=10):
    """With the losses of(i), i = 1 .. T, remembered."""
    times = Importance(schedule, history)
    t = torch.arange(1, schedule.T + 1, dtype=torch.float64) / schedule.T
    for _ in range(history):
        times.learn(t, of(t * schedule.T))
    return times


def test_uniform_until_each_step_has_its_losses():
    schedule = cosine(20)
    times = Importance(schedule, history=2)
    t = torch.arange(1, 20, dtype=torch.float64) / 20  # all but the last
    for _ in range(5):
        times.learn(t, 100 * t)
    assert torch.equal(times.probabilities(), torch.full((20,), 1 / 20, dtype=torch.float64))
    assert torch.equal(times.weight(t), torch.ones(19, dtype=torch.float64))
    times.learn(torch.ones(2).double(), torch.ones(2))
    assert times.probabilities().std() > 0


def test_probabilities_are_those_of_the_paper():
    of = lambda i: 1 + i.double() ** 0.5  # noqa: E731
    times = filled(cosine(50), of)
    rms = of(torch.arange(1, 51))
    want = 0.999 * rms / rms.sum() + 0.001 / 50
    torch.testing.assert_close(times.probabilities(), want, rtol=1e-12, atol=0)
    t = torch.tensor([1, 25, 50], dtype=torch.float64) / 50
    torch.testing.assert_close(times.weight(t), 1 / (50 * want[[0, 24, 49]]), rtol=1e-12, atol=0)


def test_the_memory_is_that_of_a_loop():
    """Several losses of one step in one batch, more than it remembers, and across batches."""
    schedule, draw = cosine(5), generator(0)
    times, plain = Importance(schedule, history=3), [[] for _ in range(5)]
    for _ in range(6):
        i = torch.randint(5, (11,), generator=draw)
        loss = torch.rand(11, generator=draw, dtype=torch.float64)
        times.learn((i + 1).double() / 5, loss)
        for step, value in zip(i.tolist(), loss.tolist(), strict=True):
            plain[step] = [*plain[step], value][-3:]
    for step in range(5):
        assert sorted(times.squares[step].tolist()) == pytest.approx(sorted(v**2 for v in plain[step]))
    assert int(times.seen.sum()) == 66


def test_unbiased_with_less_variance():
    """L_vlb of a Gaussian at T = 200 from 500 batches of 32: the two agree, and one spreads less."""
    schedule = cosine(200)
    denoiser = gaussian(schedule, Eps(), FixedSmall(), 0.2, 0.5)
    x0 = 0.2 + 0.5 * torch.randn(32, 1, 4, 4, generator=generator(0), dtype=torch.float64)
    found = {}
    for name in ("uniform", "importance"):
        times = Chain() if name == "uniform" else Importance(schedule)
        objective, each = Objective(Uniform(), times, simple=0.0, vlb=1.0), []
        for k in range(1000):
            losses = objective(denoiser, x0, None, generator(k, name))
            if isinstance(times, Importance):
                times.learn(losses.t, losses.each)
            each.append(float(losses.loss))
        found[name] = torch.tensor(each[-500:])
        if isinstance(times, Importance):
            assert times.probabilities().max() > 5 / 200  # it has begun
    means, spread = (
        {k: float(v.mean()) for k, v in found.items()},
        {k: float(v.var()) for k, v in found.items()},
    )
    error = sum(v / 500 for v in spread.values()) ** 0.5
    ratio = spread["uniform"] / spread["importance"]
    print(f"variance of uniform times over that of importance sampling: {ratio:.1f}")
    assert abs(means["uniform"] - means["importance"]) < 4 * error, means
    assert ratio > 3


def test_what_it_learned_is_in_the_state():
    times = filled(cosine(30), lambda i: i)
    objective = Objective(Uniform(), times, 0.0, 1.0)
    other = Objective(Uniform(), Importance(cosine(30)), 0.0, 1.0)
    other.load_state_dict(objective.state_dict())
    assert torch.equal(other.times.probabilities(), times.probabilities())
    a, b = (t(64, cosine(30), generator(3)) for t in (times, other.times))
    assert torch.equal(a, b)


def test_refusals():
    with pytest.raises(ConfigError, match=r"history=0[\s\S]*at: times"):
        Importance(cosine(10), history=0)
