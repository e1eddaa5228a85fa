"""What the network is told beside x_t and t: nothing, or the class of the image.

A label is dropped with probability `dropout` in training, that is, replaced by the null label (the number
of classes), so that one network learns the conditional and the unconditional model.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from diffexp.errors import ConfigError


class Conditioning(Protocol):
    """What training and sampling ask of a conditioning."""

    def classes(self, available: int | None) -> int | None:
        """How many classes the network is built for, given those of the data."""
        ...

    def __call__(
        self, label: Tensor | None, null: int | None, generator: torch.Generator | None = None
    ) -> Tensor | None:
        """cond of a batch, int64 (B,), of its labels, int64 (B,); `null` is the null label.

        Labels are dropped only when a generator, on the device of the labels, is given.
        """
        ...

    @property
    def guidable(self) -> bool:
        """Whether the network also learns the null condition."""
        ...


@dataclass(frozen=True)
class Unconditional:
    """Labels are not used."""

    def classes(self, available: int | None) -> None:
        return None

    def __call__(
        self, label: Tensor | None, null: int | None, generator: torch.Generator | None = None
    ) -> None:
        return None

    @property
    def guidable(self) -> bool:
        return False


@dataclass(frozen=True)
class ClassLabel:
    """The class of the image, dropped with probability `dropout` (0.1 in Ho & Salimans 2022)."""

    dropout: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout={self.dropout}", "conditioning.dropout", "give a share in [0, 1)")

    def classes(self, available: int | None) -> int:
        if not available:
            raise ConfigError("the data has no classes", "conditioning=class", "use conditioning=none")
        return available

    def __call__(
        self, label: Tensor | None, null: int | None, generator: torch.Generator | None = None
    ) -> Tensor:
        if label is None or null is None:
            raise ConfigError("each image must have a class", "conditioning=class", "use conditioning=none")
        if generator is None or not self.dropout:
            return label
        drop = torch.rand(len(label), generator=generator, device=label.device) < self.dropout
        return torch.where(drop, null, label)

    @property
    def guidable(self) -> bool:
        return self.dropout > 0
