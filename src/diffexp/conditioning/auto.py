"""The class of the image as a condition where the images have classes, nothing where they have none."""

from typing import Any

import torch
from torch import Tensor

from diffexp.condition import Asked, Condition
from diffexp.conditioning.class_label import ClassLabel


class ClassIfAny(ClassLabel):
    """The class of the image, dropped with probability `dropout`; nothing where the data has no classes."""

    def setup(self, classes: int | None) -> None:
        self.asks = ("label",) if classes else ()  # pyright: ignore[reportAttributeAccessIssue]
        self.classes = classes or 0

    def network(self) -> dict[str, Any]:
        return {"num_classes": self.classes or None}

    def encode(self, asked: Asked) -> Condition | None:
        return super().encode(asked) if self.classes else None

    def null(self, asked: Asked) -> Condition | None:
        return super().null(asked) if self.classes else None

    def keep(self, n: int, generator: torch.Generator) -> Tensor | None:
        return super().keep(n, generator) if self.classes else None

    @property
    def guidable(self) -> bool:
        return bool(self.classes) and super().guidable
