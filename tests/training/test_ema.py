"""Averaged weights against torch's own, and the warm-up in closed form."""

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from diffexp.errors import ConfigError
from diffexp.training import EMA, Averages


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def step(net, n):
    generator = torch.Generator().manual_seed(n)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(torch.randn(p.shape, generator=generator))
        net[1].running_mean.fill_(n)
        net[1].num_batches_tracked.fill_(n)


def test_is_that_of_torch():
    net = network()
    ours = Averages(net, EMA((0.9,), warmup=False))
    theirs = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    theirs.update_parameters(net)  # its first update copies
    for n in range(1, 6):
        step(net, n)
        ours.update(net, n)
        theirs.update_parameters(net)
    for a, b in zip(ours.networks[0].parameters(), theirs.module.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    assert float(ours.networks[0][1].running_mean[0]) == 5 == int(ours.networks[0][1].num_batches_tracked)


def test_warmup_forgets_the_start():
    """With d = (1 + n)/(10 + n) from n = 1: the share of the start is Π (1 + n)/(10 + n)."""
    net = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(net.weight)
    averages = Averages(net, EMA((0.99999, 0.5)))
    nn.init.ones_(net.weight)
    share = 1.0
    for n in range(1, 8):
        averages.update(net, n)
        share *= (1 + n) / (10 + n)
    assert float(averages.networks[0].weight) == pytest.approx(1 - share, rel=1e-6)
    assert EMA((0.5,)).decay(0.5, 1) == 2 / 11 and EMA((0.5,)).decay(0.5, 100) == 0.5
    assert EMA((0.999,), warmup=False).decay(0.999, 1) == 0.999


def test_never_trains():
    averages = Averages(network(), EMA((0.9, 0.99)))
    averages.train()
    assert not any(m.training for m in averages.modules())
    assert not any(p.requires_grad for p in averages.parameters())
    assert len(averages.networks) == 2


def test_refuses_what_is_no_decay():
    with pytest.raises(ConfigError, match=r"decays=\[1\.0\]"):
        EMA((1.0,))
