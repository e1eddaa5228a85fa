"""The class and the caption of the image as a condition."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from diffexp.condition import Asked, Condition
from diffexp.conditioning.encoders import TextEncoder
from diffexp.conditioning.text import Text, Use, check_share, drawn
from diffexp.errors import ConfigError


class ClassText(Text):
    """The class and the caption of the image: both dropped together with probability `dropout`, and beside
    that each alone with its own. The null label is the number of classes.
    """

    asks = ("label", "text")

    def __init__(
        self,
        encoder: TextEncoder,
        dropout: float = 0.1,
        class_dropout: float = 0.0,
        text_dropout: float = 0.0,
        use: Use = "both",
        null: Literal["empty", "learned"] = "empty",
    ) -> None:
        super().__init__(encoder, dropout, use, null)
        for key, value in (("class_dropout", class_dropout), ("text_dropout", text_dropout)):
            check_share(value, key)
        self.class_dropout, self.text_dropout, self.classes = class_dropout, text_dropout, 0

    def setup(self, classes: int | None) -> None:
        super().setup(classes)
        if not classes:
            raise ConfigError("the data has no classes", "conditioning=class_text", "use conditioning=text")
        self.classes = classes

    def network(self) -> dict[str, Any]:
        return super().network() | {"num_classes": self.classes}

    def encode(self, asked: Asked) -> Condition:
        if asked.label is None:
            do = "use conditioning=text"
            raise ConfigError("each image must have a class", "conditioning=class_text", do)
        return replace(super().encode(asked), label=asked.label)

    def null(self, asked: Asked) -> Condition:
        made = super().null(asked)
        return replace(made, label=torch.full((len(asked),), self.classes, device=made.device))

    def keep(self, n: int, generator: torch.Generator) -> Mapping[str, Tensor] | None:
        both, label, text = (
            drawn(n, share, generator) for share in (self.dropout, self.class_dropout, self.text_dropout)
        )
        fields = {"tokens": text, "mask": text, "vector": text, "label": label}
        if self.use == "vector":
            fields = {"vector": text, "label": label}
        elif self.use == "tokens":
            del fields["vector"]
        kept = {name: _all(both, own) for name, own in fields.items()}
        return {name: keep for name, keep in kept.items() if keep is not None} or None

    @property
    def guidable(self) -> bool:
        return self.dropout > 0 or (self.class_dropout > 0 and self.text_dropout > 0)


def _all(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    return b if a is None else a if b is None else a & b
