"""The loss of an autoencoder in closed form: divergence, likelihoods, ELBO, and the adversarial weight."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from diffexp.errors import ConfigError
from diffexp.metrics import FeatureDistance, SmallClassifier
from diffexp.metrics.reconstruction import bound
from diffexp.networks.autoencoder import Autoencoder
from diffexp.networks.discriminator import Discriminator
from diffexp.networks.moments import draw, kl
from diffexp.training.autoencoder_adversarial import Adversarial, adaptive_weight
from diffexp.training.autoencoder_losses import AutoencoderLoss, reconstruction_loss


def normal(seed, *shape, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_the_divergence_of_a_diagonal_gaussian_is_its_closed_form():
    mean, logvar = 3 * normal(0, 4, 2, 3, 3), 4 * normal(1, 4, 2, 3, 3)
    wanted = kl_divergence(Normal(mean, (0.5 * logvar).exp()), Normal(0.0, 1.0))
    torch.testing.assert_close(kl(mean, logvar), wanted, rtol=1e-12, atol=1e-12)
    # near the prior in float32, where exp(s) − 1 − s is a difference of equal numbers
    near = kl(mean.float() * 0, 1e-3 * logvar.float())
    torch.testing.assert_close(near.double(), kl(mean * 0, 1e-3 * logvar), rtol=1e-4, atol=1e-9)
    assert AutoencoderLoss(kl=2.0)(
        torch.zeros(4, 1, 2, 2), torch.zeros(4, 1, 2, 2), mean, logvar
    ).each.tolist() == pytest.approx((2 * wanted.flatten(1).sum(1)).tolist(), rel=1e-6)


@pytest.mark.parametrize("kind", ["l1", "l2", "gaussian"])
def test_each_reconstruction_is_a_sum_over_the_image(kind):
    x, x_hat = normal(2, 3, 2, 4, 4), normal(3, 3, 2, 4, 4)
    wanted = {
        "l1": (x - x_hat).abs(),
        "l2": (x - x_hat) ** 2,
        "gaussian": -Normal(x_hat, torch.tensor(0.3, dtype=x.dtype)).log_prob(x),
    }[kind]
    torch.testing.assert_close(reconstruction_loss(x, x_hat, kind, 0.3), wanted.flatten(1).sum(1))


def test_a_learned_log_variance_ends_at_that_of_the_errors():
    """The minimum of D s + exp(−s) Σ|r| is s = log mean |r|."""
    x, x_hat, z = normal(4, 8, 1, 4, 4), normal(5, 8, 1, 4, 4), torch.zeros(8, 1)
    loss = AutoencoderLoss(learned_logvar=True, kl=0.0).double()
    best = (x - x_hat).abs().mean().log()
    with torch.no_grad():
        loss.logvar.copy_(best)
    each = loss(x, x_hat, z, z).each.mean()
    (slope,) = torch.autograd.grad(each, loss.logvar)
    assert abs(float(slope)) < 1e-10
    assert float(each.detach()) == pytest.approx(16 * (float(best) + 1))


def test_the_bound_of_a_linear_autoencoder_is_the_likelihood_of_probabilistic_pca():
    """At the optimum q(z|x) is the posterior, so the bound is log p(x) (Tipping & Bishop 1999)."""
    dim, deviation = 6, 0.5
    basis, _ = torch.linalg.qr(normal(6, dim, dim))
    spectrum = torch.tensor([9.0, 4.0, *[deviation**2] * (dim - 2)], dtype=torch.float64)
    data = MultivariateNormal(torch.zeros(dim).double(), basis @ spectrum.diag() @ basis.T)
    torch.manual_seed(0)
    x = data.sample((4000,))
    loadings = basis[:, :2] * (spectrum[:2] - deviation**2).sqrt()  # x = W z + noise
    precision = (loadings.T @ loadings) / deviation**2 + torch.eye(2).double()  # diagonal
    mean = x @ loadings / deviation**2 / precision.diagonal()
    logvar = -precision.diagonal().log().expand_as(mean)
    likelihood = float(data.log_prob(x).mean())
    loss, noise = AutoencoderLoss("gaussian", kl=1.0, deviation=deviation), normal(7, 20, 4000, 2)

    def elbo(mean, logvar):
        draws = [draw(mean, logvar, n) for e in noise for n in (e, -e)]
        each = [loss(x, z @ loadings.T, mean, logvar).each.mean() for z in draws]
        return -float(torch.stack(each).mean())

    assert elbo(mean, logvar) == pytest.approx(likelihood, rel=1e-3)
    for worse in ((1.1 * mean, logvar), (mean + 0.2, logvar), (mean, logvar + 0.5), (mean, logvar - 0.5)):
        assert elbo(*worse) < likelihood - 0.02


def test_the_bits_of_a_gaussian_are_those_of_its_masses():
    """Over the 256 values of a pixel they are a distribution; in nats of z they add up."""
    values = torch.arange(256).view(256, 1, 1, 1) / 127.5 - 1
    for x_hat, deviation in ((0.1, 0.2), (-1.3, 0.05), (0.99, 1.0)):
        bits = bound(values, torch.full_like(values, x_hat), torch.zeros(256), deviation)
        assert float((-bits * math.log(2)).exp().sum()) == pytest.approx(1, abs=1e-6)
    more = bound(values, torch.zeros_like(values), torch.full((256,), math.log(2)), 1.0)
    less = bound(values, torch.zeros_like(values), torch.zeros(256), 1.0)
    torch.testing.assert_close(more - less, torch.ones(256).double())


def test_the_adaptive_weight_is_the_ratio_of_gradients_at_the_last_layer():
    torch.manual_seed(0)
    network, rival = Autoencoder(1, channels=8, groups=4), Discriminator(1, (16, 16), 8)
    x = torch.rand(2, 1, 16, 16) * 2 - 1
    x_hat = network(x)
    nll, term = (x - x_hat).abs().flatten(1).sum(1).mean(), -rival(x_hat).mean()
    weight = adaptive_weight(nll, term, network.last_layer)
    norms = []
    for loss in (nll, term):
        network.zero_grad()
        loss.backward(retain_graph=True)
        norms.append(network.decoder.conv_out.weight.grad.norm())
    assert float(weight) == pytest.approx(float(norms[0] / (norms[1] + 1e-4)), rel=1e-5)
    assert not weight.requires_grad
    assert float(adaptive_weight(nll, term, network.last_layer, most=0.5)) == 0.5
    assert float(adaptive_weight(1e9 * nll, 0 * term, network.last_layer)) == pytest.approx(1e4)  # clamped


def test_the_losses_of_the_discriminator_in_numbers():
    real, fake = torch.tensor([2.0, 0.0]), torch.tensor([-2.0, 1.0])
    assert float(Adversarial(1.0).of_discriminator(real, fake)) == 0.5 * (0.5 + 1.0)
    wanted = sum(math.log(1 + math.exp(x)) for x in (-2, 0, -2, 1)) / 4
    vanilla = Adversarial(1.0, "vanilla").of_discriminator(real, fake)
    assert float(vanilla) == pytest.approx(wanted)


@pytest.mark.parametrize(("size", "layers", "patches"), [((28, 28), 3, 1), ((64, 48), 3, 4), ((8, 8), 1, 2)])
def test_the_discriminator_has_as_many_layers_as_fit(size, layers, patches):
    rival = Discriminator(1, size, 8)
    assert rival.layers == layers
    assert rival(torch.zeros(2, 1, *size)).shape[:2] == (2, 1)
    assert rival(torch.zeros(2, 1, *size)).shape[3] == patches


def test_features_see_what_the_classifier_sees():
    term = FeatureDistance(weights="digits")
    a, b = (torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(i)) * 2 - 1 for i in (0, 1))
    assert not term(a, a).any() and (term(a, b) > 0).all()
    torch.testing.assert_close(term(a, b), term(b, a))
    near = (a + 0.1 * (b - a)).requires_grad_()
    close = term(near, a)
    assert (close < term(b, a)).all()
    (slope,) = torch.autograd.grad(close.sum(), near)
    assert (slope.flatten(1).norm(dim=1) > 0).all()
    # by hand: |u − v|² = 2 (1 − cos) of unit vectors, behind each of the three activations of the maps
    body, total = SmallClassifier("digits").body, 0
    for end in (2, 5, 7):
        total = total + 2 * (1 - torch.cosine_similarity(body[:end](a), body[:end](b), dim=1)).mean((1, 2))
    torch.testing.assert_close(term(a, b), total, rtol=1e-4, atol=1e-6)
    with pytest.raises(ConfigError, match="the classifier of digits sees images of 1x8x8, not 1x28x28"):
        term.check_shape((1, 28, 28))


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: AutoencoderLoss("l3"), "reconstruction=l3"),
        (lambda: AutoencoderLoss(kl=-1.0), "kl=-1.0"),
        (lambda: AutoencoderLoss("gaussian", deviation=0.0), "deviation=0.0"),
        (lambda: AutoencoderLoss("gaussian", learned_logvar=True), "the gaussian has a fixed deviation"),
        (lambda: Adversarial(-1.0), "weight=-1.0"),
        (lambda: Adversarial(loss="wgan"), "loss=wgan"),
        (lambda: Discriminator(1, (4, 4), 8), "images of 4x4 are too small for a discriminator of patches"),
        (lambda: Discriminator(1, (8, 8), 12), "channels=12, layers=3 make no discriminator"),
    ],
)
def test_what_makes_no_loss_is_refused(make, what):
    with pytest.raises(ConfigError, match=what):
        make()
