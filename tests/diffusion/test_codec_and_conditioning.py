"""Pixels survive the codec; labels are dropped as often as asked, in training alone."""

import pytest
import torch
from oracle import classes

from diffexp.codecs import Pixels
from diffexp.condition import Asked
from diffexp.conditioning import ClassLabel, Unconditional
from diffexp.errors import ConfigError, DivergedError
from diffexp.randomness import generator


def test_all_256_values_come_back():
    image = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    x = Pixels().encode(image)
    assert x.dtype == torch.float32 and x.min() == -1 and x.max() == 1
    assert torch.equal(Pixels().decode(x), image)


def test_decoding_rounds_to_the_nearest_value_and_clamps():
    x = torch.tensor([-3.0, -1 + 0.49 / 127.5, -1 + 0.51 / 127.5, 0.999, 7.0]).view(1, 1, 1, 5)
    assert Pixels().decode(x).flatten().tolist() == [0, 0, 1, 255, 255]


def test_images_that_are_not_finite_are_an_error():
    x = torch.zeros(4, 1, 2, 2)
    x[1, 0, 0, 0], x[2, 0, 1, 1] = float("nan"), float("inf")
    with pytest.raises(DivergedError) as error:
        Pixels().decode(x)
    expected = "2 of 4 generated images are not finite\n  do: type clip=static, or raise sampler.steps"
    assert str(error.value) == expected


@pytest.mark.parametrize("dropout", [0.1, 0.5])
def test_labels_are_kept_with_the_given_share(dropout):
    label, conditioning = torch.arange(100_000) % 10, classes(10, dropout)
    keep = conditioning.keep(len(label), generator(0, "drop"))
    assert abs(float((~keep).double().mean()) - dropout) < 4 * (dropout * (1 - dropout) / 1e5) ** 0.5
    of_each = torch.stack([(~keep)[label == c].double().mean() for c in range(10)])
    assert (of_each - dropout).abs().max() < 5 * (dropout * (1 - dropout) / 1e4) ** 0.5
    assert torch.equal(keep, conditioning.keep(len(label), generator(0, "drop")))
    asked = Asked(len(label), label)
    cond = conditioning.encode(asked).where(keep, conditioning.null(asked))
    assert torch.equal(cond.label, torch.where(keep, label, 10)) and cond.label.dtype == torch.int64


def test_all_labels_are_kept_without_dropout():
    assert classes(10, 0.0).keep(1000, generator(0)) is None
    assert Unconditional().keep(1000, generator(0)) is None


def test_a_conditioning_says_what_the_network_is_built_with_and_whether_it_can_be_guided():
    assert classes(10).network() == {"num_classes": 10}
    assert ClassLabel(0.1).guidable and not ClassLabel(0.0).guidable
    assert Unconditional().network() == {"num_classes": None} and not Unconditional().guidable
    assert Unconditional().encode(Asked(3, torch.zeros(3).long())) is None


def test_wrong_conditioning_is_refused():
    with pytest.raises(ConfigError, match="the data has no classes\n  at: conditioning=class"):
        ClassLabel().setup(None)
    with pytest.raises(ConfigError, match="each image must have a class"):
        classes(10).encode(Asked(3))
    with pytest.raises(ConfigError, match=r"dropout=1\.0\n  at: conditioning\.dropout"):
        ClassLabel(1.0)
