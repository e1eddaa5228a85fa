"""What a metric is: something that sees generated images one batch at a time, and then says a number.

check -> prepare -> (update ... update -> compute -> card -> reset) again and again
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
        """Before training, quickly. Raises ConfigError for data or an extractor that it cannot measure."""
        ...

    def prepare(self, data: DataSet, extractor: Extractor | None, n: int) -> None:
        """Once: whatever it needs to know about the real images, when n are to be generated."""
        ...

    def update(self, batch: Batch, features: Tensor | None) -> None:
        """Generated images, the classes and captions asked for; and their features (B, dim)."""
        ...

    def compute(self) -> dict[str, float]:
        """The numbers, over all ranks: a collective call. Empty if it has seen nothing that it can judge."""
        ...

    def card(self) -> Card:
        """How the numbers of the last `compute` were made; under `standard_errors` those of them, by key."""
        ...

    def reset(self) -> None:
        """Forgets the generated images; what `prepare` learnt stays."""
        ...
