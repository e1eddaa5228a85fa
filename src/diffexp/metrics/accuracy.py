"""The accuracy of class-conditional samples: the share whose class they recognise as the one asked for.

A judge is trained on the real train split alone, and its card says how many of the real test split it
recognises, which is as much as samples can be expected to reach (more means that they are too easy).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from diffexp.data.batch import Batch
from diffexp.data.dataset import DataSet
from diffexp.errors import ConfigError
from diffexp.metrics import reference as real
from diffexp.metrics.classifier import SmallClassifier
from diffexp.metrics.distributed import summed
from diffexp.metrics.each import Each
from diffexp.metrics.extractor import Extractor, extract
from diffexp.metrics.metric import Card


class Share:
    """The share that was right, of each class and of all."""

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = list(classes)
        self.counts = torch.zeros(2, len(classes), dtype=torch.int64)
        self._each, self.each = Each(), torch.empty(0, dtype=torch.float64)

    def update(self, recognised: Tensor, asked: Tensor, index: Tensor | None = None) -> None:
        """Count the classes that were recognised and asked for, int (B,). index: numbers of the images."""
        if index is not None:
            self._each.update(index, recognised.cpu() == asked.cpu())
        asked = asked.cpu()
        for row, some in enumerate((asked[recognised.cpu() == asked], asked)):
            self.counts[row] += some.bincount(minlength=len(self.classes))

    def over_ranks(self) -> tuple[float | None, Card]:
        """Return the share, None of nothing; and of how many, and that of each class: a collective call.

        `each` is then 1 for each image that was right, by its number.
        """
        self.each = self._each.over_ranks()[0]
        right, of = summed(self.counts)[0].tolist()
        each = {name: r / n for name, r, n in zip(self.classes, right, of, strict=True) if n}
        n = sum(of)
        return (sum(right) / n if n else None), {"n": n, "by_class": each}


def evidence(share: Share, key: str) -> dict[str, Tensor]:
    """Return whether each image was right, for a comparison; empty where nothing could be judged."""
    return {f"{key}/each": share.each} if len(share.each) else {}


def judged(share: Share, key: str, card: Card) -> dict[str, float]:
    """Return the value of a judge, with its standard error and that of each class in the card."""
    value, more = share.over_ranks()
    card |= more
    if value is None:
        return {}
    card["standard_errors"] = {key: (value * (1 - value) / more["n"]) ** 0.5}
    return {key: value}


class ClassifierAccuracy:
    """Key accuracy_<extractor>: the metrics' small classifier judges, from features that FID uses as well.

    cache: of its accuracy on the real test images; None for none.
    """

    def __init__(self, cache: str | None = real.CACHE) -> None:
        self.cache = cache

    def check(self, data: DataSet, extractor: Extractor | None) -> None:
        """Raise ConfigError for an extractor that cannot judge, or data of other classes."""
        if not isinstance(extractor, SmallClassifier):
            what = "only a SmallClassifier can judge accuracy"
            raise ConfigError(what, "metrics.extractor", "type metrics=mnist, or leave this metric out")
        needs_classes(data, extractor.name, extractor.classes)

    def prepare(self, data: DataSet, extractor: Extractor | None, n: int) -> None:
        assert isinstance(extractor, SmallClassifier)
        self._judge = extractor
        self._classes = data.classes or ()

        def make() -> dict[str, Tensor]:
            share, images = Share(self._classes), data.split("test")
            for index in torch.arange(len(images)).split(1000):
                batch = images.batch(index)
                assert batch.label is not None
                share.update(extractor.classify(extract(extractor, batch.image)), batch.label)
            right, of = share.counts.sum(1)
            return {"accuracy": (right / of).double()}

        known = real.cached(self.cache, real.key(data, "test", extractor, "accuracy"), make)
        self._card: Card = {
            "judge": extractor.name,
            "sha256": extractor.sha256[:12],
            "n": 0,
            "accuracy_real_test": float(known["accuracy"]),
        }
        self.reset()

    def update(self, batch: Batch, features: Tensor | None) -> None:
        """Judge samples; those without labels, of a model without classes, are not counted."""
        assert features is not None
        if batch.label is not None:
            with torch.autocast(features.device.type, enabled=False):
                recognised = self._judge.classify(features)
            self._share.update(recognised, batch.label, batch.index)

    def compute(self) -> dict[str, float]:
        return judged(self._share, f"accuracy_{self._judge.name}", self._card)

    def evidence(self) -> dict[str, Tensor]:
        return evidence(self._share, f"accuracy_{self._judge.name}")

    def card(self) -> Card:
        return dict(self._card)

    def reset(self) -> None:
        self._share = Share(self._classes)


def needs_classes(data: DataSet, who: str, count: int | None = None) -> None:
    """Raise ConfigError where the images of `data` have no classes, or another number of them."""
    there = len(data.classes or ())
    if there == 0 or there != (count or there):
        what = f"{who} judges {count or 'some'} classes, and {data.name} has {there or 'none'}"
        raise ConfigError(what, "metrics", "leave the accuracy out, or type metrics=none")
