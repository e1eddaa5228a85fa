"""The set feeds each of its metrics, extracts once, and stops at n."""

import pytest
import torch

from diffexp.data import Digits, InMemory
from diffexp.data.dataset import DataSet, Splits
from diffexp.errors import ConfigError, DataError
from diffexp.metrics import (
    FID,
    KID,
    ClassifierAccuracy,
    CLIPScore,
    FIDInfinity,
    InceptionScore,
    Manifold,
    MetricSet,
    SmallClassifier,
    SVMAccuracy,
)


def digits_set(n):
    metrics = MetricSet(n, SmallClassifier(), [FID(cache=None), ClassifierAccuracy(None), SVMAccuracy()])
    metrics.prepare(Digits())
    return metrics


def test_it_stops_at_n_and_batches_do_not_matter():
    part = Digits().split("val")
    values = []
    for size in (7, 64, 180):
        metrics = digits_set(100)
        for images, labels in zip(part.images.split(size), part.labels.split(size), strict=True):
            metrics.update(images, labels)
        values.append(metrics.compute())
        assert metrics.seen == 100
        assert [card["n"] for card in metrics.cards.values()] == [100, 100, 100]
    assert set(values[0]) == {"fid_digits64", "accuracy_digits64", "accuracy_svm"}
    for other in values[1:]:
        assert other == pytest.approx(values[0], rel=1e-6)


def test_reset_forgets_the_samples_and_nothing_else():
    metrics, part = digits_set(100), Digits().split("val")
    metrics.update(part.images, part.labels)
    first = metrics.compute()
    metrics.reset()
    metrics.update(255 - part.images, part.labels)
    assert metrics.compute()["fid_digits64"] > 10 * first["fid_digits64"]
    metrics.reset()
    metrics.update(part.images, part.labels)
    assert metrics.compute() == first


def test_each_image_is_extracted_once_for_all():
    metrics, part, seen = digits_set(100), Digits().split("val"), []
    metrics.extractor.register_forward_hook(lambda module, inputs, features: seen.append(len(features)))
    metrics.update(part.images, part.labels)
    metrics.compute()
    assert sum(seen) == 100


def test_autocast_around_changes_nothing():
    part, values = Digits().split("val"), []
    for enabled in (False, True):
        metrics = digits_set(100)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            metrics.update(part.images, part.labels)
        values.append(metrics.compute())
    assert values[0] == values[1]


def test_none_measures_nothing():
    metrics = MetricSet(0)
    metrics.prepare(Digits())
    metrics.update(Digits().split("val").images)
    assert metrics.compute() == {} and metrics.seen == 0


def test_one_image_is_too_few():
    with pytest.raises(ConfigError, match="n=1 images are too few"):
        MetricSet(1, SmallClassifier(), [FID()])


class Says:
    """A metric that says one number."""

    def __init__(self, value=1.0, error=0.1, floor=0.5):
        self.value, self.error, self.floor = value, error, floor

    def check(self, data, extractor): ...

    def prepare(self, data, extractor, n): ...

    def update(self, batch, features): ...

    def reset(self): ...

    def compute(self):
        return {"says": self.value}

    def card(self):
        return {"standard_errors": {"says": self.error}, "floor": self.floor, "n": 3, "real": None}


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(
    ("where", "told"),
    [("value", "says is"), ("error", "the standard error of says is"), ("floor", "floor of says is")],
)
def test_a_number_that_is_not_finite_is_an_error(where, told, bad):
    assert MetricSet(10, None, [Says()]).compute() == {"says": 1.0}
    with pytest.raises(DataError, match=rf"{told} {bad}, which measures nothing"):
        MetricSet(10, None, [Says(**{where: bad})]).compute()


@pytest.mark.parametrize("metric", [KID, Manifold, FIDInfinity, InceptionScore, FID, ClassifierAccuracy])
def test_features_that_are_not_finite_make_no_number(metric):
    """Comparisons with NaN are false, and would give a precision of 0 and a class."""
    data, extractor = Digits(), SmallClassifier()
    metrics = MetricSet(100, extractor, [metric(cache=None)])
    metrics.prepare(data)
    extractor.body[-1].bias.data[3] = torch.nan
    with pytest.raises(DataError, match="features of 100 of 100 images are not finite"):
        part = data.split("test")
        metrics.update(part.images, part.labels)


def test_a_clip_score_of_nan_has_no_standard_error_of_nothing():
    """max(0.0, nan) is 0.0."""
    score = CLIPScore()
    score._card, score._sum = {}, torch.tensor([2.0, torch.nan, 2.0, 0.0], dtype=torch.float64)
    score._clip = SmallClassifier()
    metrics = MetricSet(2, None, [score])
    with pytest.raises(DataError, match="standard error of clip_score_digits64 is nan"):
        metrics.compute()


class Same(DataSet):
    name, classes, shape = "same", None, (1, 8, 8)

    def __init__(self, last=7):
        self.last = last

    def read(self):
        images = torch.full((120, 1, 8, 8), 7, dtype=torch.uint8)
        images[-1] = self.last
        return Splits(InMemory(images), InMemory(images[:5]), InMemory(images[:50]))


def test_images_that_are_all_the_same_are_told(caplog):
    metrics, told = digits_set(60), "all generated images are the same"
    for size in (60, 7):
        metrics.reset()
        caplog.clear()
        for part in torch.full((60, 1, 8, 8), 100, dtype=torch.uint8).split(size):
            metrics.update(part, torch.zeros(len(part), dtype=torch.int64))
        assert metrics.compute()["fid_digits64"] > 0
        assert all(card["note"].endswith(told) for card in metrics.cards.values())
        assert "n=60 is not more than the 64 features" in metrics.cards["fid_digits64"]["note"]
        assert caplog.text.count(told) == 1
    metrics.reset()
    caplog.clear()
    part = Digits().split("val")
    metrics.update(part.images, part.labels)
    metrics.compute()
    assert (
        not any(told in card.get("note", "") for card in metrics.cards.values()) and told not in caplog.text
    )


def test_real_images_that_are_all_the_same_are_told(caplog):
    for last, count in ((7, 1), (8, 0)):
        caplog.clear()
        metrics = MetricSet(60, SmallClassifier(), [FID(cache=None)])
        metrics.prepare(Same(last))
        metrics.update(Digits().split("val").images)
        metrics.compute()
        told = "all images of the train split of same are the same"
        assert (told in metrics.cards["fid_digits64"]["note"]) == bool(count)
        assert caplog.text.count(told) == count
