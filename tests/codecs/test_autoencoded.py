"""Latents have unit deviation, are the same in any batch, and an autoencoder that says nothing is refused."""

import pytest
import torch
from tiny_autoencoder import Tiny, network

from diffexp.codecs.scale import Scale, measured
from diffexp.errors import ConfigError, DataError, DivergedError
from diffexp.randomness import Noise

SHAPE = (1, 8, 8)


def parts(moments, size=64):
    return iter(moments.split(size))


def noise(n, shape=(2, 4, 4)):
    return Noise(0, torch.arange(n), shape)


@pytest.mark.parametrize("scale", ["all", "channel"])
@pytest.mark.parametrize("centre", [True, False])
def test_draws_have_unit_deviation_over_the_images(images, scale, centre):
    codec = Tiny(scale=scale, centre=centre)
    codec.latent(SHAPE)
    codec.measure(parts(moments := codec.moments(images)))
    x = codec.draw(moments.repeat(20, 1, 1, 1), noise(20 * len(images))).double()
    x = x.transpose(0, 1).flatten(1)  # (channels, numbers)
    about = x.mean(1, keepdim=True) if centre or scale == "channel" else x.mean()
    variance = (x - about).square().mean(1)
    assert (variance.mean() if scale == "all" else variance).sqrt().sub(1).abs().max() < 0.01
    if centre:
        assert x.mean(1).abs().max() < 0.05


@pytest.mark.parametrize("centre", [True, False])
@pytest.mark.parametrize("each", [True, False])
def test_the_error_of_the_scale_is_that_of_other_images(each, centre):
    """1,000 data sets of 60 images, whose brightness varies: numbers of an image are not independent."""
    draw, scales = torch.Generator().manual_seed(0), []
    for _ in range(1000):
        mean = torch.randn(60, 2, 3, 3, generator=draw) + 2 * torch.randn(60, 2, 1, 1, generator=draw) + 1
        moments = torch.cat([mean * torch.tensor([1.0, 3.0]).view(1, 2, 1, 1), torch.ones(60, 2, 3, 3)], 1)
        scales.append(measured(iter([moments]), each, centre))
    factors, errors = (torch.tensor([getattr(s, key) for s in scales]) for key in ("factor", "error"))
    assert factors.shape == (1000, 2 if each else 1)
    assert (errors.mean(0) / factors.std(0) - 1).abs().max() < 0.15


def test_a_latent_is_the_same_in_any_batch(images):
    codec = Tiny()
    codec.latent(SHAPE)
    whole = codec.moments(images)
    for size in (1, 7, 64, 65):
        assert all(
            torch.equal(a, codec.moments(i))
            for a, i in zip(whole.split(size), images.split(size), strict=True)
        )
    back = codec.decode(whole[:, :2])
    assert torch.equal(back[:5], codec.decode(whole[:5, :2])) and back.dtype == torch.uint8
    assert back.shape == images.shape


def test_what_is_encoded_is_decoded_through_scale_and_centre(images):
    codec, plain = Tiny(scale="channel"), Tiny(scale=1.0)
    for each in (codec, plain):
        each.latent(SHAPE)
    codec.measure(parts(codec.moments(images)))
    assert codec.factor.shape == codec.centre.shape == (2, 1, 1) and codec.centre.abs().max() > 0
    a, b = (each.decode(each.encode(images)) for each in (codec, plain))
    assert (a.int() - b.int()).abs().max() <= 1  # a rounding apart


def test_draws_are_the_mean_and_deviations_around_it(images):
    codec = Tiny(scale=2.0)
    moments = codec.moments(images[:9])
    mean, deviation = moments.chunk(2, 1)
    assert torch.equal(codec.encode(images[:9]), 2 * mean)
    assert torch.equal(codec.draw(moments, noise(9)), 2 * (mean + deviation * noise(9)(0)))
    assert (deviation > 0).all()


def biased(net, mean, logvar):
    """A network whose latents are these numbers for each channel, whatever the image."""
    torch.nn.init.zeros_(net.to_moments.weight)
    net.to_moments.bias.data = torch.tensor([*mean, *logvar])
    return net


def test_an_autoencoder_that_has_collapsed_is_refused(images):
    codec = Tiny(biased(network(), (0.0, 0.0), (0.0, 0.0)))
    with pytest.raises(DataError) as error:
        codec.measure(parts(codec.moments(images)))
    what = "2 of 2 channels of the latents are dead: they say nothing of the images (posterior collapse)"
    assert error.value.what == what and "lower weight of its KL term" in error.value.do


def test_latents_without_any_deviation_have_no_scale(images):
    codec = Tiny(biased(network(), (3.0, 3.0), (-40.0, -40.0)))
    with pytest.raises(DataError, match="the latents of all images are the same"):
        codec.measure(parts(codec.moments(images)))


def test_a_dead_channel_is_said(images, capsys):
    net = network()
    net.to_moments.weight.data[1], net.to_moments.bias.data[1], net.to_moments.bias.data[3] = 0, 0, 0
    net.to_moments.weight.data[3] = 0
    codec = Tiny(net)
    codec.measure(parts(codec.moments(images)))
    assert "1 of 2 channels of the latents are dead" in capsys.readouterr().err
    assert codec.scale.dead == 1 and codec.scale.images == 300


def test_latents_that_are_not_finite_are_refused(images):
    net = network()
    codec = Tiny(net)
    with torch.no_grad():
        net.to_moments.weight *= float("inf")
    with pytest.raises(DataError, match="the latents of 4 of 4 images are not finite\n  at: tiny"):
        codec.moments(images[:4])
    with pytest.raises(DataError, match=r"the weights of the autoencoder are not finite: to_moments\.weight"):
        Tiny(net)
    x = torch.zeros(3, 2, 4, 4)
    x[1, 0, 0, 0] = float("nan")
    with pytest.raises(DivergedError, match="1 of 3 generated images are not finite"):
        Tiny().decode(x)


def test_other_images_are_refused():
    with pytest.raises(ConfigError, match="images of 3 channels, and an autoencoder of 1"):
        Tiny().latent((3, 8, 8))
    with pytest.raises(ConfigError, match="images of 7x8 cannot be made 2 times smaller"):
        Tiny().latent((1, 7, 8))
    for wrong in (0.0, -1.0, float("nan")):
        with pytest.raises(ConfigError, match="give a positive number, all or channel"):
            Tiny(scale=wrong)


def test_what_was_measured_is_remembered(images):
    codec, other = Tiny(scale="channel"), Tiny(scale="channel")
    codec.measure(parts(codec.moments(images)))
    other.latent(SHAPE)
    other.remember(codec.learned())
    assert torch.equal(codec.encode(images[:3]), other.encode(images[:3]))
    assert [*codec.state_dict()] and not [name for name in codec.state_dict() if "factor" in name]


GOOD = Scale([1.0], [0.1], [0.0], 5, 0, 2)._asdict()


@pytest.mark.parametrize("change", [
    {"factor": [0.0]}, {"factor": [float("nan")]}, {"factor": 1.0}, {"factor": [1.0] * 3, "error": [0.1] * 3},
    {"error": []}, {"mean": []}, {"images": "5"}, {"dead": -1}, {"factor": ["1"]}, {"mean": [0.0] * 3},
])  # fmt: skip
def test_a_damaged_scale_is_refused(change):
    codec = Tiny()
    codec.latent(SHAPE)
    codec.remember(GOOD)
    with pytest.raises(DataError, match="scale"):
        codec.remember({**GOOD, **change})
    with pytest.raises(DataError, match="the scale of the latents is damaged"):
        codec.remember({})


def test_the_digest_is_of_the_weights():
    assert Tiny().digest == Tiny().digest != Tiny(network(1)).digest
    net = network()
    with torch.no_grad():
        net.decoder.conv_in.bias += 1
        net.from_latent.bias += 1
    decoder = Tiny(net)
    assert decoder.digest != Tiny().digest and decoder.of_latents == Tiny().of_latents
    with torch.no_grad():
        net.encoder.conv_in.bias += 1
    assert Tiny(net).of_latents != Tiny().of_latents
    assert Tiny().card() == {"autoencoder": Tiny().digest[:12]}
