"""Measures of reconstructions: their closed forms, an autoencoder that changes nothing, and dead channels."""

import math

import pytest
import torch

from diffexp.data import Digits
from diffexp.errors import ConfigError
from diffexp.metrics import FID, MetricSet, SmallClassifier
from diffexp.metrics.reconstruction import Measure, latent_of, psnr, ssim
from diffexp.metrics.reconstruction_metrics import metrics_for
from diffexp.training.autoencoder_picture import difference


class Same:
    """z is the image, of a small deviation."""

    def moments(self, x):
        return x, torch.full_like(x, -20.0)

    def decode(self, z):
        return z


class Dead(Same):
    """Of two channels the second is the prior's, and the image is lost in noise as strong as itself."""

    def moments(self, x):
        mean = torch.cat([x, torch.zeros_like(x)], 1)
        return mean, torch.zeros_like(mean)

    def decode(self, z):
        return z[:, :1]


def images(n=4, size=8):
    return torch.randint(256, (n, 1, size, size), generator=torch.manual_seed(0), dtype=torch.uint8)


def test_a_psnr_is_that_of_its_error():
    a = images()
    assert psnr(a, a).tolist() == [100.0] * 4
    b = a.clone()
    b[1] = (a[1].int() + torch.where(a[1] < 128, 10, -10)).to(torch.uint8)
    assert float(psnr(a, b)[1]) == pytest.approx(20 * math.log10(25.5))


@pytest.mark.parametrize("size", [8, 12, 28])
def test_a_similarity_is_one_for_equal_images_alone(size):
    a, b = images(size=size), images(8, size)[4:]
    assert ssim(a, a).tolist() == pytest.approx([1.0] * 4)
    assert (ssim(a, b).abs() < 0.5).all() and ssim(a, b).shape == (4,)


def test_the_difference_is_grey_where_nothing_differs():
    a = torch.tensor([[10, 200, 0]], dtype=torch.uint8)
    assert difference(a, torch.tensor([[10, 210, 255]], dtype=torch.uint8)).tolist() == [[128, 168, 255]]


def metrics(n=60):
    made = MetricSet(n, SmallClassifier("digits"), [FID(cache=None)])
    made.prepare(Digits())
    return made


def test_an_autoencoder_that_changes_nothing_is_as_good_as_the_images_are():
    measured = Measure(metrics(), pictures=20, batch_size=50).run(Same(), Digits())
    values, card = measured.values, measured.cards["rfid_digits64"]
    assert (values["psnr"], values["ssim"], values["active_channels"]) == (100.0, pytest.approx(1.0), 1)
    assert values["rfid_digits64"] == pytest.approx(card["originals"]) and card["n"] == 60
    assert torch.equal(measured.images, measured.back) and len(measured.images) == 20
    x = Digits().split("test").batch(torch.arange(180)).image.float() / 127.5 - 1
    assert measured.evidence["rfid_digits64/without"].shape == (10,)
    nats = 0.5 * (x.square() + math.exp(-20) - 1 + 20).flatten(1).sum(1)
    assert values["kl"] == pytest.approx(float(nats.mean()), rel=1e-5)
    assert measured.latent["mean"] == [pytest.approx(float(x.mean()), rel=1e-4)]
    assert measured.latent["std"] == [pytest.approx(float(x.std()), rel=1e-3)]
    assert measured.cards["kl"]["standard_error"] == pytest.approx(float(nats.std() / 180**0.5), rel=1e-3)


def test_in_parts_and_on_ranks_it_is_the_same():
    whole = Measure(MetricSet(0), batch_size=250, deviation=0.1).run(Dead(), Digits())
    parts = Measure(MetricSet(0), batch_size=7, deviation=0.1).run(Dead(), Digits())
    assert whole.values == pytest.approx(parts.values) and whole.latent == parts.latent | {
        key: [pytest.approx(x) for x in parts.latent[key]] for key in ("mean", "std")
    }
    assert whole.evidence.keys() == {"psnr/each", "ssim/each", "kl/each", "bpd/each"}
    for key, each in whole.evidence.items():
        assert torch.allclose(each, parts.evidence[key]) and len(each) == 180
        assert float(each.mean()) == pytest.approx(whole.values[key.removesuffix("/each")])
    assert whole.pairing == parts.pairing and whole.pairing["n"] == 180
    card = whole.cards["active_channels"]
    assert (card["n"], card["split"]) == (180, "test")
    assert card["note"] == "of 2: the mean of z has more than 1% of its variance"
    assert whole.latent["active"] == [True, False] and whole.values["active_channels"] == 1
    assert whole.values["bpd"] > 8  # noise of deviation 1 in a likelihood of 0.1


def test_a_channel_is_active_by_the_share_of_its_mean():
    """Not by its scale: one of deviation 0.05 that knows the image is as alive as another."""
    count, small = 1000.0, 0.05**2
    rows = torch.tensor([[count] * 3, [0.0] * 3, [small, 0.004, 0.02], [1e-6, 1.0, 1.0]]).double()
    rows[2:] *= count
    assert latent_of(rows)["active"] == [True, False, True]


def test_metrics_of_other_images_are_refused_if_typed_and_else_replaced(capsys):
    others = MetricSet(1000, SmallClassifier("fashion_mnist"), [FID(cache=None)])
    with pytest.raises(ConfigError, match="fashion64 measures images of 1x28x28, not 1x8x8"):
        metrics_for(others, Digits(), typed=True)
    made = metrics_for(others, Digits(), typed=False)
    assert (made.extractor.name, made.n, len(made.metrics)) == ("digits64", 180, 1)
    none = MetricSet(0)
    assert metrics_for(none, Digits(), typed=False) is none
