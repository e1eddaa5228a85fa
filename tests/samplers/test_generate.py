"""Images of a real network do not depend on how they are batched."""

import pytest
import torch
from oracle import classes
from torch import nn

from diffexp.codecs import Pixels
from diffexp.condition import Asked
from diffexp.conditioning import Unconditional
from diffexp.diffusion import ClassifierFree, Denoiser, FixedSmall, V, cosine
from diffexp.errors import ConfigError, DivergedError
from diffexp.model.ask import ask, labels_for
from diffexp.model.model import Model
from diffexp.networks import UNet
from diffexp.samplers import DDIM, DDPM, generate, sample


@pytest.fixture(scope="module")
def model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = UNet(8, 1, 1, 3, channels=16, channel_mult=(1, 2), blocks=1, attention=(4,), groups=2)
        for part in network.modules():  # beyond the zeros that it starts with
            if isinstance(part, nn.Conv2d):
                nn.init.normal_(part.weight, std=0.08)
    denoiser = Denoiser(network.eval(), cosine(), V(), FixedSmall())
    return Model(denoiser, classes(3), Pixels(), (1, 8, 8), ("a", "b", "c"))


@pytest.mark.parametrize("sampler", [DDIM(steps=10), DDIM(steps=10, eta=1.0), DDPM(steps=20)], ids=str)
def test_same_images_for_any_batch_size(model, sampler):
    index, guidance = torch.arange(64), ClassifierFree(2.0)
    asked = ask(model, 64)
    a, b = (
        generate(model, sampler, index, asked, guidance, batch_size=size, seed=3).int() for size in (7, 64)
    )
    assert a.shape == (64, 1, 8, 8) and len(a.unique()) > 50
    assert int((a - b).abs().max()) <= 1 and float((a != b).float().mean()) < 1e-3


def test_images_are_named_by_their_number_and_the_seed(model):
    sampler, asked = DDIM(steps=4), ask(model, 10)
    whole = generate(model, sampler, torch.arange(10), asked, seed=1)
    some = generate(model, sampler, torch.tensor([7, 2]), asked[torch.tensor([7, 2])], seed=1)
    assert (some.int() - whole[[7, 2]].int()).abs().max() <= 1
    other = generate(model, sampler, torch.arange(10), asked, seed=2)
    assert not torch.equal(whole, other)
    assert len({bytes(image.numpy()) for image in whole}) == 10


def test_progress_is_told(model):
    told = []
    generate(model, DDIM(steps=1), torch.arange(10), ask(model, 10), batch_size=4, on_batch=told.append)
    assert told == [4, 8, 10]


def test_labels_are_balanced_and_checked(model):
    assert labels_for(7, 3).tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert labels_for(3, 10, [3, 8]).tolist() == [3, 8, 3]
    assert labels_for(5, None) is None
    with pytest.raises(ConfigError, match="choose from 0 to 9"):
        labels_for(3, 10, [10])
    with pytest.raises(ConfigError, match="trained without classes"):
        labels_for(3, None, [1])


def test_sample_is_generate_in_few_words(model):
    images = sample(model, 4, DDIM(steps=3), classes=[1], scale=2.0, seed=5)
    want = generate(
        model, DDIM(steps=3), torch.arange(4), Asked(4, torch.ones(4).long()), ClassifierFree(2.0), seed=5
    )
    assert torch.equal(images, want)


def test_unconditional_models_refuse_guidance(model):
    alone = Model(model.denoiser, Unconditional(), Pixels(), (1, 8, 8))
    with pytest.raises(ConfigError, match=r"guidance\.scale=3 needs"):
        generate(alone, DDIM(steps=2), torch.arange(2), guidance=ClassifierFree(3.0))


def test_dropout_is_off_while_sampling_only():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = UNet(
            8, 1, 1, None, channels=16, channel_mult=(1,), blocks=1, attention=(), groups=2, dropout=0.5
        )
        for part in network.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.normal_(part.weight, std=0.08)
    alone = Model(Denoiser(network, cosine(), V(), FixedSmall()), Unconditional(), Pixels(), (1, 8, 8))
    network.conv_in.eval()
    a, b = (generate(alone, DDIM(steps=2), torch.arange(4)) for _ in range(2))
    assert torch.equal(a, b)
    assert network.training and not network.conv_in.training
    x, t = torch.ones(1, 1, 8, 8), torch.ones(())
    assert not torch.equal(alone.denoiser(x, t).x0, alone.denoiser(x, t).x0)  # dropout is on again


def test_images_that_are_not_finite_are_an_error(model):
    class Broken(nn.Module):
        def forward(self, x, t, cond):
            return x * float("nan")

    broken = Model(
        Denoiser(Broken(), cosine(), V(), FixedSmall()), classes(3), Pixels(), (1, 8, 8), ("a", "b", "c")
    )
    with pytest.raises(DivergedError, match="not finite"):
        generate(broken, DDIM(steps=2), torch.arange(2), ask(broken, 2))
