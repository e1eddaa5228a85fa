"""The size of the picture, and which part of it the image is, beside another condition: micro-conditioning
(Podell et al. 2023, SDXL, section 2.2). Small pictures and crops can then be trained on, and asked not to be.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from diffexp.condition import Asked, Condition
from diffexp.conditioning.conditioning import Conditioning
from diffexp.conditioning.text import check_share, drawn

SIZES = 6  # those of Asked.size
_OTHERS: tuple[str, ...] = ("label", "vector", "tokens", "mask", "image")


class WithSize(Conditioning):
    """The condition of `of` with the numbers of Asked.size, dropped in training with probability `dropout`,
    apart from the others. Guidance goes away from nothing of the same size.
    """

    def __init__(self, of: Conditioning, dropout: float = 0.1) -> None:
        super().__init__()
        check_share(dropout, "dropout")
        self.of, self.dropout = of, dropout

    def fit(self, texts: Sequence[str] | None) -> None:
        self.of.fit(texts)

    def learned(self) -> dict[str, Any]:
        return self.of.learned()

    def remember(self, learned: Mapping[str, Any]) -> None:
        self.of.remember(learned)

    def adapted(self, weights: Mapping[str, Tensor], learned: Mapping[str, Any]) -> dict[str, Tensor]:
        own = {name.removeprefix("of."): weight for name, weight in weights.items()}
        return {f"of.{name}": weight for name, weight in self.of.adapted(own, learned).items()}

    def setup(self, classes: int | None) -> None:
        self.of.setup(classes)
        self.asks = self.of.asks  # pyright: ignore[reportAttributeAccessIssue]

    def network(self) -> dict[str, Any]:
        return self.of.network() | {"sizes": SIZES}

    def check(self) -> None:
        self.of.check()

    def load(self) -> None:
        self.of.load()

    def encode(self, asked: Asked) -> Condition:
        return _with_size(self.of.encode(asked), asked)

    def null(self, asked: Asked) -> Condition:
        return _with_size(self.of.null(asked), asked)

    def keep(self, n: int, generator: torch.Generator) -> Tensor | Mapping[str, Tensor] | None:
        others = self.of.keep(n, generator)
        kept = dict.fromkeys(_OTHERS, others) if isinstance(others, Tensor) else dict(others or {})
        own = drawn(n, self.dropout, generator)
        if own is not None:
            kept["size"] = own
        return kept or None

    def unknown(self, texts: Sequence[str]) -> dict[str, str | None]:
        return self.of.unknown(texts)

    def remarks(self, asked: Asked) -> list[str]:
        return self.of.remarks(asked)

    @property
    def guidable(self) -> bool:
        return self.of.guidable


def _with_size(cond: Condition | None, asked: Asked) -> Condition:
    """Return a condition with the sizes that are asked for, 0 where none are."""
    cond = cond or Condition()
    size = torch.zeros(len(asked), SIZES, dtype=torch.int64) if asked.size is None else asked.size
    return replace(cond, size=size if cond.device is None else size.to(cond.device))
