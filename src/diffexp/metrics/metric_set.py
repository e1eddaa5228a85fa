"""The metrics of a run: each generated batch goes once through the extractor, and to all of them."""

import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from PIL import Image
from torch import Tensor

from diffexp.data.batch import Batch
from diffexp.data.dataset import DataSet, SplitName
from diffexp.errors import ConfigError, DataError, Problems, check_at_most
from diffexp.metrics.alike import Alike, all_alike
from diffexp.metrics.extractor import Extractor, extract
from diffexp.metrics.metric import Card, Metric

_log = logging.getLogger(__name__)
OWN = ("digits", "digits_text", "fashion_mnist", "mnist")
"""The data sets for which there are metrics of the same name."""


class MetricSet:
    """The metrics of a run; a plain object, no attribute of a LightningModule, whose checkpoints would hold
    the extractor.

    n: images to generate, on all ranks together; what comes beyond n on one rank is not looked at.
    """

    def __init__(
        self, n: int = 1000, extractor: Extractor | None = None, metrics: list[Metric] | None = None
    ) -> None:
        self.n, self.extractor, self.metrics = n, extractor, list(metrics or [])
        if self.metrics and n < 2:
            raise ConfigError(f"n={n} images are too few to measure", "metrics.n", "type metrics.n=1000")
        check_at_most(10**7, "metrics", n=n)
        check_at_most(100, "metrics", metrics=len(self.metrics))
        self.seen, self._alike, self._notes = 0, Alike(), list[str]()

    def compare_with(self, split: SplitName | None) -> None:
        """Compare with the real images of this split, in each metric that names one; None: of that."""
        for metric in self.metrics:
            if split is not None and "reference" in vars(metric):  # else it is fixed, or there is none
                metric.reference = split  # type: ignore[attr-defined]

    def check(self, data: DataSet) -> None:
        """Check before training that weights are here, and fit the data. Raises ConfigError, DataError."""
        problems = Problems()
        if self.extractor is not None:
            with problems, _offering(data):
                self.extractor.check(data.shape)
        for metric in self.metrics:
            with problems, _offering(data):
                metric.check(data, self.extractor)
        problems.all_at_once()

    def prepare(self, data: DataSet, device: torch.device | str = "cpu") -> None:
        """Prepare the metrics once with the real images. It may take long the first time."""
        self.check(data)
        if self.extractor is not None:
            self.extractor.to(device)
        for metric in self.metrics:
            metric.prepare(data, self.extractor, self.n)
        splits = {metric.reference for metric in self.metrics if hasattr(metric, "reference")}  # type: ignore
        self._notes = [
            f"all images of the {split} split of {data.name} are the same"
            for split in sorted(splits)
            if all_alike(data.split(split))
        ]
        for note in self._notes:
            _log.warning("%s", note)

    def update(
        self,
        images: Tensor,
        labels: Tensor | None = None,
        texts: list[str] | None = None,
        index: Tensor | None = None,
    ) -> Tensor | None:
        """Take in generated images uint8 (B, C, H, W), and the classes, int (B,), or B captions asked for.
        Return the features of those that count, (B', dim), None without an extractor.

        index: the number of each among those of all ranks, int (B,); None where they come in turn, on one.
        """
        images = images[: self.n - self.seen]
        if not self.metrics or not len(images):
            return None
        labels = None if labels is None else labels[: len(images)]
        texts = None if texts is None else texts[: len(images)]
        number = self.seen + torch.arange(len(images)) if index is None else index[: len(images)]
        batch = Batch(images, labels, texts, number)
        self.seen += len(images)
        self._alike.see(images)
        features = None if self.extractor is None else extract(self.extractor, images)
        for metric in self.metrics:
            metric.update(batch, features)
        return features

    def compute(self) -> dict[str, float]:
        """Return all numbers by key; a collective call. `cards` says how each was made, `evidence` has what a
        comparison needs: `KEY/without`, the number without each part of the images (the parts are the same in
        every evaluation), or `KEY/each`, what each image adds to a mean, by its number, NaN for none;
        `pictures` those of metrics that draw some, by name.

        Raises DataError for a number that is not finite, whatever it is that says it.
        """
        self.cards: dict[str, Card] = {}
        self.evidence: dict[str, Tensor] = {}
        self.pictures: dict[str, Image.Image] = {}
        values: dict[str, float] = {}
        notes = [*self._notes, *(["all generated images are the same"] if self._alike.over_ranks() else [])]
        for metric in self.metrics:
            numbers = metric.compute()
            card = metric.card()
            errors = card.pop("standard_errors", {})
            check_finite(numbers)
            check_finite({f"the standard error of {key}": error for key, error in errors.items()})
            for key in numbers:
                check_finite({f"{name} of {key}": value for name, value in card.items()})
            values |= numbers
            if numbers and hasattr(metric, "evidence"):
                self.evidence |= metric.evidence()  # type: ignore[attr-defined]
            if numbers and hasattr(metric, "pictures"):
                self.pictures |= metric.pictures()  # type: ignore[attr-defined]
            with_error = {key: {"standard_error": errors[key]} if key in errors else {} for key in numbers}
            if texts := [*filter(None, [card.get("note")]), *notes]:
                card["note"] = "; ".join(texts)
            self.cards |= {key: card | with_error[key] for key in numbers}
        if values and len(notes) > len(self._notes):
            _log.warning("%s: %s", notes[-1], ", ".join(values))
        return values

    def reset(self) -> None:
        """Forget the generated images."""
        self.seen, self._alike = 0, Alike()
        for metric in self.metrics:
            metric.reset()


@contextmanager
def _offering(data: DataSet) -> Iterator[None]:
    """Offer the metrics that are made for the data, where others do not fit it."""
    try:
        yield
    except ConfigError as error:
        part = getattr(data, "parts", {}).get(getattr(data, "val", None), data)
        name = getattr(type(part), "name", None)  # and not that of a file
        if error.where != "metrics" or name not in OWN:
            raise
        raise ConfigError(error.what, error.where, f"type metrics={name}, or metrics=none") from error


def check_finite(values: Mapping[str, object]) -> None:
    """Raise DataError for a number among the values that is NaN or infinite."""
    for key, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            do = "look at the generated images, at metrics.extractor's weights, and at the data"
            raise DataError(f"{key} is {value}, which measures nothing", "metrics", do)
