"""The set feeds each of its metrics, extracts once, and stops at n."""

import pytest
import torch

from diffexp.data import Digits
from diffexp.errors import ConfigError
from diffexp.metrics import FID, ClassifierAccuracy, MetricSet, SmallClassifier, SVMAccuracy


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
