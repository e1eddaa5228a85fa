"""The autoencoder of latent diffusion: LDM's numbers of parameters, shapes, what is refused."""

import pytest
import torch

from diffexp.errors import ConfigError
from diffexp.networks.autoencoder import Autoencoder
from diffexp.networks.sized_autoencoder import autoencoder_for, sized_autoencoder


def small(**options):
    return Autoencoder(**{"in_channels": 1, "channels": 8, "groups": 4, **options})


def test_the_largest_preset_is_the_network_of_stable_diffusion():
    with torch.device("meta"):
        network = Autoencoder(3, 4, 128, (1, 2, 4, 4), 2, True, 32)
    halves = [sum(p.numel() for p in part.parameters()) for part in (network.encoder, network.decoder)]
    assert halves == [34_163_592, 49_490_179]
    assert sum(p.numel() for p in network.parameters()) == 83_653_863
    assert network.latent((3, 512, 768)) == (4, 64, 96)
    assert network.last_layer.shape == (3, 128, 3, 3)


@pytest.mark.parametrize("size", [(28, 28), (32, 48)])
def test_images_come_back_in_their_size(size):
    network = small(latent_channels=3, attention=True)
    x = torch.randn(2, 1, *size, generator=torch.manual_seed(0))
    mean, logvar = network.moments(x)
    assert mean.shape == logvar.shape == (2, *network.latent((1, *size)))
    assert network.decode(mean).shape == x.shape == network(x).shape


def test_a_log_variance_is_clamped():
    network = small()
    x = torch.zeros(1, 1, 8, 8)
    for bias, bound in ((-1e4, -30.0), (1e4, 20.0)):
        torch.nn.init.constant_(network.to_moments.bias, bias)
        assert network.moments(x)[1].unique().tolist() == [bound]


@pytest.mark.parametrize(
    ("size", "factor"),
    [(8, 2), (14, 2), (28, 4), (32, 4), (64, 4), (128, 8), ((64, 32), 4), (12, 2), (30, 2)],
)
def test_an_autoencoder_is_fitted_to_the_images(size, factor):
    assert sized_autoencoder(size, 1, channels=8).factor == factor


def test_a_network_is_told_the_size_only_where_it_asks():
    assert autoencoder_for((1, 8, 8), sized_autoencoder).latent((1, 8, 8)) == (4, 4, 4)
    assert autoencoder_for((3, 16, 32), Autoencoder).latent((3, 16, 32)) == (4, 4, 8)


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: small(groups=3), "8 channels, times .* cannot be normalised in 3 groups"),
        (lambda: small(latent_channels=0), "latent_channels=0, .* make no network"),
        (lambda: small(dropout=1.0), "dropout=1.0"),
        (lambda: small().latent((1, 30, 28)), "images of 30x28 cannot be made 4 times smaller"),
        (lambda: small().latent((3, 28, 28)), "images of 3 channels, and an autoencoder of 1"),
        (lambda: sized_autoencoder(15, 1), "images of 15 pixels cannot be made smaller"),
    ],
)
def test_what_makes_no_autoencoder_is_refused(make, what):
    with pytest.raises(ConfigError, match=what):
        make()
