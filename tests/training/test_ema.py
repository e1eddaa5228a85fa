"""Averaged weights against torch's own, and the warm-up in closed form."""

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from diffexp.codecs import Pixels
from diffexp.conditioning import Unconditional
from diffexp.diffusion import Denoiser, FixedSmall, V, cosine
from diffexp.errors import ConfigError
from diffexp.model.model import Model
from diffexp.model.trainable import Full
from diffexp.training import EMA, Averages


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def model(net):
    denoiser = Denoiser(net, cosine(), V(), FixedSmall())
    return Model(denoiser, Unconditional(), Pixels(), (1, 8, 8))


def networks(averages):
    return [average.denoiser.network for average in averages.models]


def step(net, n):
    generator = torch.Generator().manual_seed(n)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(torch.randn(p.shape, generator=generator))
        net[1].running_mean.fill_(n)
        net[1].num_batches_tracked.fill_(n)


def test_is_that_of_torch():
    net = network()
    whole = model(net)
    ours = Averages(whole, EMA((0.9,), warmup=False), Full())
    theirs = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    theirs.update_parameters(net)  # its first update copies
    for n in range(1, 6):
        step(net, n)
        ours.update(whole, n)
        theirs.update_parameters(net)
    for a, b in zip(networks(ours)[0].parameters(), theirs.module.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    norm = networks(ours)[0][1]
    assert float(norm.running_mean[0]) == 5 == int(norm.num_batches_tracked)


def test_warmup_forgets_the_start():
    """With d = (1 + n)/(10 + n) from n = 1: the share of the start is Π (1 + n)/(10 + n)."""
    net = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(net.weight)
    whole = model(net)
    averages = Averages(whole, EMA((0.99999, 0.5)), Full())
    nn.init.ones_(net.weight)
    share = 1.0
    for n in range(1, 8):
        averages.update(whole, n)
        share *= (1 + n) / (10 + n)
    assert float(networks(averages)[0].weight) == pytest.approx(1 - share, rel=1e-6)
    assert EMA((0.5,)).decay(0.5, 1) == 2 / 11 and EMA((0.5,)).decay(0.5, 100) == 0.5
    assert EMA((0.999,), warmup=False).decay(0.999, 1) == 0.999


def test_never_trains():
    averages = Averages(model(network()), EMA((0.9, 0.99)), Full())
    averages.train()
    assert not any(m.training for m in averages.modules())
    assert not any(p.requires_grad for p in averages.parameters())
    assert len(averages.models) == 2 and averages.models[1].weights == "average of decay 0.99"


def test_refuses_what_is_no_decay():
    with pytest.raises(ConfigError, match=r"decays=\[1\.0\]"):
        EMA((1.0,))


def test_an_average_shares_what_comes_from_a_file_and_copies_what_is_trained():
    """A frozen base of 860 million parameters would otherwise be in every average."""
    net = network()
    net[0].source = "base.safetensors"
    net[0].requires_grad_(False)
    whole = model(net)
    averages, tune = Averages(whole, EMA((0.5,)), Full()), Full()
    (copy,) = networks(averages)
    assert copy[0].weight is net[0].weight and copy[2].weight is not net[2].weight
    names = {name.split(".")[2] for name in tune.state(whole)}
    assert names == {"1", "2"} == {name.split(".")[2] for name in tune.state(averages.models[0])}
    assert {id(p) for p in tune.parameters(whole)} == {id(p) for part in net[1:] for p in part.parameters()}
