"""The similarity of samples to the instance images, by the definition: all pairs, one by one."""

import pytest
import torch
import torch.nn.functional as F

from diffexp.data import Digits, Mix
from diffexp.data.dataset import DataSet, Splits
from diffexp.data.memory import InMemory
from diffexp.errors import ConfigError
from diffexp.metrics import InstanceSimilarity, MetricSet, SmallClassifier, extract
from diffexp.training.direction import better_high

KEY = "similarity_instance_digits64"


class Few(DataSet):
    """The first 5 images of the digits."""

    name, classes, shape = "few", None, (1, 8, 8)

    def __init__(self, start=0):
        images = Digits().split("train").images[start : start + 5]
        self.images = InMemory(images)

    def check(self):
        pass

    def read(self):
        return Splits(self.images, self.images, self.images)


def measured(data, images, times=1):
    metrics = MetricSet(len(images), SmallClassifier(), [InstanceSimilarity()])
    metrics.prepare(data)
    for _ in range(times):
        metrics.reset()
        for index in torch.arange(len(images)).split(7):
            metrics.update(images[index], index=index)
        values = metrics.compute()
    return values, metrics


def test_it_is_the_mean_of_the_cosines_of_all_pairs():
    samples = Digits().split("test").images[:20]
    values, metrics = measured(Few(), samples, times=2)
    a, b = (F.normalize(extract(SmallClassifier(), x).double()) for x in (samples, Few().images.images))
    pairs = F.cosine_similarity(a[:, None], b[None], dim=2)
    assert values == {KEY: pytest.approx(float(pairs.mean()), abs=1e-6)}
    card = metrics.cards[KEY]
    assert (card["n"], card["n_reference"]) == (20, 5)
    assert card["standard_error"] == pytest.approx(float(pairs.mean(1).std()) / 20**0.5, abs=1e-6)
    assert torch.allclose(metrics.evidence[f"{KEY}/each"], pairs.mean(1), atol=1e-6)
    among = F.cosine_similarity(b[:, None], b[None], dim=2)
    assert card["real"] == pytest.approx(float(among[~torch.eye(5, dtype=torch.bool)].mean()), abs=1e-6)


def test_one_image_alone_is_like_itself():
    one = Few()
    one.images = InMemory(one.images.images[:1])
    values, metrics = measured(one, one.images.images.expand(4, -1, -1, -1))
    assert values[KEY] == pytest.approx(1, abs=1e-6) and "real" not in metrics.cards[KEY]


def test_of_a_mixture_the_instance_images_count():
    samples = Digits().split("test").images[:20]
    mixed = Mix({"prior": Few(50), "instance": Few()})
    assert measured(mixed, samples)[0] == measured(Few(), samples)[0]
    shown = Mix({"prior": Few(50), "own": Few()}, val="own")
    assert measured(shown, samples)[0] == measured(Few(), samples)[0]


def test_it_needs_an_extractor_and_more_is_better():
    with pytest.raises(ConfigError, match=r"needs an extractor\n.*\n  do: type metrics=instance, "):
        MetricSet(10, None, [InstanceSimilarity()]).check(Few())
    assert better_high(f"val/{KEY}")
