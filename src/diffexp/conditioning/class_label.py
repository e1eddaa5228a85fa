"""The class of the image as a condition."""

from typing import Any

import torch
from torch import Tensor

from diffexp.condition import Asked, Condition
from diffexp.conditioning.conditioning import Conditioning
from diffexp.errors import ConfigError


class ClassLabel(Conditioning):
    """The class of the image, dropped with probability `dropout` (0.1 in Ho & Salimans 2022).

    The null label is the number of classes.
    """

    asks = ("label",)

    def __init__(self, dropout: float = 0.1) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise ConfigError(f"dropout={dropout}", "conditioning.dropout", "give a share in [0, 1)")
        self.dropout = dropout
        self.classes = 0

    def setup(self, classes: int | None) -> None:
        if not classes:
            raise ConfigError("the data has no classes", "conditioning=class", "use conditioning=none")
        self.classes = classes

    def network(self) -> dict[str, Any]:
        return {"num_classes": self.classes}

    def encode(self, asked: Asked) -> Condition | None:
        if asked.label is None:
            raise ConfigError("each image must have a class", "conditioning=class", "use conditioning=none")
        return Condition(label=asked.label)

    def null(self, asked: Asked) -> Condition | None:
        device = None if asked.label is None else asked.label.device
        return Condition(label=torch.full((len(asked),), self.classes, device=device))

    def keep(self, n: int, generator: torch.Generator) -> Tensor | None:
        if not self.dropout:
            return None
        return torch.rand(n, generator=generator, device=generator.device) >= self.dropout

    @property
    def guidable(self) -> bool:
        return self.dropout > 0
