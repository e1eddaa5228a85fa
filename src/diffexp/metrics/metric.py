"""The protocol of a metric, which sees generated images one batch at a time, and then returns a number.

check -> prepare -> (update ... update -> compute -> card -> reset) again and again

One that can be compared image by image, or part by part, has a method `evidence() -> dict[str, Tensor]` as
well, which is called after `compute`: see MetricSet.compute. One that draws has
`pictures() -> dict[str, Image]`, called after `compute` as well, on each rank.
"""

from typing import Any, Protocol

from torch import Tensor

from diffexp.data.batch import Batch
from diffexp.data.dataset import DataSet
from diffexp.metrics.extractor import Extractor

Card = dict[str, Any]
"""How a number was made: plain strings and numbers. Two numbers of different cards cannot be compared."""


class Metric(Protocol):
    """One number or several of the images of a model."""

    def check(self, data: DataSet, extractor: Extractor | None) -> None:
        """Check quickly before training. Raises ConfigError for data or an extractor that cannot be used."""
        ...

    def prepare(self, data: DataSet, extractor: Extractor | None, n: int) -> None:
        """Learn once whatever it needs of the real images, when n are to be generated."""
        ...

    def update(self, batch: Batch, features: Tensor | None) -> None:
        """Take in generated images, the classes and captions asked for; and their features (B, dim)."""
        ...

    def compute(self) -> dict[str, float]:
        """Return the numbers, over all ranks: a collective call. Empty if nothing could be judged."""
        ...

    def card(self) -> Card:
        """Return how the last `compute` made its numbers; under `standard_errors` theirs, by key."""
        ...

    def reset(self) -> None:
        """Forget the generated images; what `prepare` learnt stays."""
        ...
