"""The metrics of a run: each generated batch goes once through the extractor, and to all of them."""

import torch
from torch import Tensor

from diffexp.data.batch import Batch
from diffexp.data.dataset import DataSet
from diffexp.errors import ConfigError
from diffexp.metrics.extractor import Extractor, extract
from diffexp.metrics.metric import Card, Metric


class MetricSet:
    """A plain object, no attribute of a LightningModule: checkpoints would then hold the extractor.

    n: images to generate, on all ranks together; what comes beyond n on one rank is not looked at.
    """

    def __init__(
        self, n: int = 1000, extractor: Extractor | None = None, metrics: list[Metric] | None = None
    ) -> None:
        self.n, self.extractor, self.metrics = n, extractor, list(metrics or [])
        if self.metrics and n < 2:
            raise ConfigError(f"n={n} images are too few to measure", "metrics.n", "type metrics.n=1000")
        self.seen = 0

    def check(self, data: DataSet) -> None:
        """Before training: weights are here, and fit the data. Raises ConfigError, DataError."""
        if self.extractor is not None:
            self.extractor.check(data.shape)
        for metric in self.metrics:
            metric.check(data, self.extractor)

    def prepare(self, data: DataSet, device: torch.device | str = "cpu") -> None:
        """Once: what the metrics need of the real images. It may take long the first time."""
        self.check(data)
        if self.extractor is not None:
            self.extractor.to(device)
        for metric in self.metrics:
            metric.prepare(data, self.extractor, self.n)

    def update(self, images: Tensor, labels: Tensor | None = None, texts: list[str] | None = None) -> None:
        """Generated images uint8 (B, C, H, W), and what was asked for: classes, int (B,), or B captions."""
        images = images[: self.n - self.seen]
        if not self.metrics or not len(images):
            return
        labels = None if labels is None else labels[: len(images)]
        texts = None if texts is None else texts[: len(images)]
        batch = Batch(images, labels, texts, self.seen + torch.arange(len(images)))
        self.seen += len(images)
        features = None if self.extractor is None else extract(self.extractor, images)
        for metric in self.metrics:
            metric.update(batch, features)

    def compute(self) -> dict[str, float]:
        """All numbers by key; a collective call. `cards` tells how each was made."""
        self.cards: dict[str, Card] = {}
        values: dict[str, float] = {}
        for metric in self.metrics:
            found = metric.compute()
            values |= found
            card = metric.card()
            errors = card.pop("standard_errors", {})
            told = {key: {"standard_error": errors[key]} if key in errors else {} for key in found}
            self.cards |= {key: card | told[key] for key in found}
        return values

    def reset(self) -> None:
        """Forgets the generated images."""
        self.seen = 0
        for metric in self.metrics:
            metric.reset()
