"""The caption of the image as a condition."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from diffexp.condition import Asked, Condition
from diffexp.conditioning.conditioning import Conditioning, nearest_of
from diffexp.conditioning.encoders import Encoded, TextEncoder
from diffexp.errors import ConfigError, DataError

Use = Literal["both", "tokens", "vector"]


class Text(Conditioning):
    """The caption of the image, by a text encoder; dropped in training with probability `dropout`.

    use: what the network is told: the tokens, which cross-attention looks at, the pooled vector, which goes
    with the time, or both. null: what a dropped caption becomes, and what guidance goes away from: the
    encoding of the empty caption, or a token that is learned. A negative prompt takes its place.
    """

    asks = ("text",)

    def __init__(
        self,
        encoder: TextEncoder,
        dropout: float = 0.1,
        use: Use = "both",
        null: Literal["empty", "learned"] = "empty",
    ) -> None:
        super().__init__()
        check_share(dropout, "dropout")
        self.encoder, self.dropout, self.use, self.kind_of_null = encoder, dropout, use, null

    def fit(self, texts: Sequence[str] | None) -> None:
        self.encoder.fit(texts)

    def learned(self) -> dict[str, Any]:
        return self.encoder.learned()

    def remember(self, learned: Mapping[str, Any]) -> None:
        try:
            self.encoder.remember(learned)
        except ValueError as error:
            do = "use another checkpoint of the run"
            raise DataError(f"what is known of the captions is damaged: {error}", "learned", do) from error

    def adapted(self, weights: Mapping[str, Tensor], learned: Mapping[str, Any]) -> dict[str, Tensor]:
        own = {name.removeprefix("encoder."): w for name, w in weights.items() if name.startswith("encoder.")}
        made = {f"encoder.{name}": w for name, w in self.encoder.adapted(own, learned).items()}
        return {name: w for name, w in weights.items() if not name.startswith("encoder.")} | made

    def setup(self, classes: int | None) -> None:
        self.encoder.setup()
        if self.kind_of_null == "learned":
            self.nothing = nn.Parameter(torch.randn(2, self.encoder.dim))  # a token, and a vector

    def network(self) -> dict[str, Any]:
        dim = self.encoder.dim
        return {
            "num_classes": None,
            "token_dim": dim if self.use != "vector" else None,
            "vector_dim": dim if self.use != "tokens" else None,
        }

    def check(self) -> None:
        self.encoder.check()

    def load(self) -> None:
        self.encoder.load()

    def encode(self, asked: Asked) -> Condition:
        if asked.text is None:
            do = "take data with captions, or conditioning=class"
            raise ConfigError("each image must have a caption", "conditioning=text", do)
        return self._condition(self.encoder(asked.text))

    def _condition(self, encoded: Encoded) -> Condition:
        tokens, mask, vector = encoded
        if self.use == "vector":
            return Condition(vector=vector)
        return Condition(tokens=tokens, mask=mask, vector=None if self.use == "tokens" else vector)

    def null(self, asked: Asked) -> Condition:
        n, negative = len(asked), asked.negative
        if negative is not None and any(negative):
            encoded = self._condition(self.encoder(negative))
            keep = torch.tensor([bool(text) for text in negative], device=encoded.device)
            return encoded if keep.all() else encoded.where(keep, self._nothing(n))
        return self._nothing(n)

    def _nothing(self, n: int) -> Condition:
        if self.kind_of_null == "empty":
            return self._condition(self.encoder(("",))).expand(n)
        token, vector = self.nothing
        mask = torch.ones(1, 1, dtype=torch.bool, device=token.device)
        return self._condition(Encoded(token[None, None], mask, vector[None])).expand(n)

    def keep(self, n: int, generator: torch.Generator) -> Tensor | Mapping[str, Tensor] | None:
        return drawn(n, self.dropout, generator)

    @property
    def guidable(self) -> bool:
        return self.dropout > 0

    def unknown(self, texts: Sequence[str]) -> dict[str, str | None]:
        return self.encoder.unknown(texts)

    def remarks(self, asked: Asked) -> list[str]:
        texts = list(dict.fromkeys([*(asked.text or ()), *(t for t in asked.negative or () if t)]))
        lines = list[str]()
        if unknown := self.encoder.unknown(texts):
            lines.append(f"words that the model does not know are left out: {nearest_of(unknown)}")
        lengths, room = self.encoder.lengths(texts), self.encoder.room
        if cut := sum(length > room for length in lengths):
            shown = f"{room} {self.encoder.piece} of a caption are read, and the longest has {max(lengths):,}"
            lines.append(f"{cut:,} of {len(texts):,} captions are cut: {shown}")
        return lines


def check_share(value: float, key: str) -> None:
    """Raise ConfigError for a probability with which something is dropped that is none, or 1."""
    if not 0 <= value < 1:
        raise ConfigError(f"{key}={value}", f"conditioning.{key}", "give a share in [0, 1)")


def drawn(n: int, dropout: float, generator: torch.Generator) -> Tensor | None:
    """Return which of n are kept, bool (n,), drawn; None for all."""
    if not dropout:
        return None
    return torch.rand(n, generator=generator, device=generator.device) >= dropout
