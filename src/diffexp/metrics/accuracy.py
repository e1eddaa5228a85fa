"""Judges of class-conditional samples: the share whose class they recognise as the one asked for.

A judge is trained on the real train split alone, and its card says how many of the real test split it
recognises, which is as much as samples can be expected to reach (more means that they are too easy).
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from diffexp.errors import ConfigError
from diffexp.metrics.classifier import SmallClassifier
from diffexp.metrics.extractor import Extractor, extract
from diffexp.metrics.metric import Card
from diffexp.metrics.ranks import summed

if TYPE_CHECKING:
    from diffexp.data.dataset import DataSet


class Share:
    """How many of how many were right."""

    def __init__(self) -> None:
        self.counts = torch.zeros(2, dtype=torch.int64)

    def update(self, found: Tensor, asked: Tensor) -> None:
        """Classes found and asked for, int (B,)."""
        self.counts += torch.tensor([int((found.cpu() == asked.cpu()).sum()), len(asked)])

    def over_ranks(self) -> tuple[float | None, int]:
        """The share, None of nothing, and of how many: a collective call."""
        right, n = summed(self.counts)[0].tolist()
        return (right / n if n else None), n


class ClassifierAccuracy:
    """Key accuracy_<extractor>: the metrics' small classifier judges, from features that FID uses as well."""

    def check(self, data: "DataSet", extractor: Extractor | None) -> None:
        """Raises ConfigError for an extractor that cannot judge, or data of other classes."""
        if not isinstance(extractor, SmallClassifier):
            what = "only a SmallClassifier can judge accuracy"
            raise ConfigError(what, "metrics.extractor", "type metrics=mnist, or leave this metric out")
        needs_classes(data, extractor.name, extractor.classes)

    def prepare(self, data: "DataSet", extractor: Extractor | None, n: int) -> None:
        assert isinstance(extractor, SmallClassifier)
        self._judge = extractor
        share = Share()
        images = data.split("test")
        for index in torch.arange(len(images)).split(1000):
            batch = images.batch(index)
            assert batch.label is not None
            share.update(extractor.classify(extract(extractor, batch.image)), batch.label)
        self._card: Card = {
            "judge": extractor.name,
            "sha256": extractor.sha256[:12],
            "n": 0,
            "accuracy_real_test": share.over_ranks()[0],
        }
        self.reset()

    def update(self, images: Tensor, labels: Tensor | None, features: Tensor | None) -> None:
        """Samples without labels, of a model without classes, are not judged."""
        assert features is not None
        if labels is not None:
            with torch.autocast(features.device.type, enabled=False):
                found = self._judge.classify(features)
            self._share.update(found, labels)

    def compute(self) -> dict[str, float]:
        share, self._card["n"] = self._share.over_ranks()
        return {} if share is None else {f"accuracy_{self._judge.name}": share}

    def card(self) -> Card:
        return dict(self._card)

    def reset(self) -> None:
        self._share = Share()


def needs_classes(data: "DataSet", who: str, count: int | None = None) -> None:
    """Raises ConfigError where the images of `data` have no classes, or another number of them."""
    found = len(data.classes or ())
    if found == 0 or found != (count or found):
        what = f"{who} judges {count or 'some'} classes, and {data.name} has {found or 'none'}"
        raise ConfigError(what, "metrics", "leave the accuracy out, or type metrics=none")
