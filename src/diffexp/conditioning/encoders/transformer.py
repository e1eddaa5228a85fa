"""A small transformer that reads pieces of a caption, trained along with the network."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffexp.conditioning.encoders.encoder import Encoded, TextEncoder
from diffexp.errors import ConfigError, check_at_most


class Block(nn.Module):
    """Self-attention and a perceptron, each behind its norm (Xiong et al. 2020)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, h: Tensor, mask: Tensor) -> Tensor:
        """Map (B, L, width); mask: bool (B, L), which tokens are looked at."""
        q, k, v = self.qkv(self.norm1(h)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(q, k, v, mask[:, None, None])
        h = h + self.proj(seen.transpose(1, 2).flatten(2))
        return h + self.narrow(F.gelu(self.wide(self.norm2(h))))


class Trained(TextEncoder):
    """A table of pieces, their positions, and layers of a transformer. Row 0 of the table stands before each
    caption, so that the empty one is something as well; a caption is filled up to `length` of the longest
    training caption. The vector is the mean of the tokens that count.
    """

    learns = True

    def __init__(self, width: int, layers: int, heads: int, length: int) -> None:
        super().__init__()
        for key, value, least in (("width", width, 1), ("layers", layers, 0), ("heads", heads, 1)):
            if value < least:
                raise ConfigError(f"{key}={value}", f"text_encoder.{key}", f"give {least} or more")
        if width % heads:
            do = f"give a width that {heads} heads divide"
            raise ConfigError(f"width={width} and heads={heads}", "text_encoder.heads", do)
        if length < 1:
            raise ConfigError(f"length={length}", "text_encoder.length", "give 1 or more")
        check_at_most(1 << 14, "text_encoder", width=width, length=length)
        check_at_most(100, "text_encoder", layers=layers)
        self.dim, self.layers, self.heads, self.length, self.room = width, layers, heads, length, 0

    def rows(self) -> int:
        """Return how many pieces there are, without the one before each caption."""
        raise NotImplementedError

    def pieces(self, text: str) -> list[int]:
        """Return the pieces of a text without new words by their numbers, from 1."""
        raise NotImplementedError

    def numbers_of(self, text: str) -> list[int]:
        """Return the pieces of a caption by their numbers; those of new words follow the table's."""
        if not self.concepts.sizes:
            return self.pieces(text)
        made, first = list[int](), self.rows() + 1
        for part in self.concepts.parts(text):
            made += self.pieces(part) if isinstance(part, str) else [first + i for i in part]
        return made

    def ids(self, text: str) -> list[int]:
        return [number - 1 for number in self.pieces(text)]

    def embeddings(self) -> Tensor:
        return self.table.weight[1:]

    def fit(self, texts: Sequence[str] | None) -> None:
        if not texts:
            do = "take data with captions (data.text), or conditioning=class"
            raise ConfigError("the training images have no captions", "conditioning=text", do)
        self.room = min(self.length, max(1, *self.lengths(list(dict.fromkeys(texts)))))

    def learned(self) -> dict[str, Any]:
        words = self.concepts.learned()
        return {"room": self.room} | ({"concepts": words} if words else {})

    def remember(self, learned: Mapping[str, Any]) -> None:
        room = learned.get("room")
        if type(room) is not int or not 1 <= room <= self.length:
            raise ValueError(f"the longest caption is {room!r:.40}, no whole number to {self.length}")
        self.room = room
        self.concepts.remember(learned.get("concepts") or {})

    def setup(self) -> None:
        if not self.room:
            self.fit(None)
        self.table = nn.Embedding(self.rows() + 1, self.dim)
        self.places = nn.Parameter(0.3 * torch.randn(self.room + 1, self.dim))
        self.blocks = nn.ModuleList(Block(self.dim, self.heads) for _ in range(self.layers))
        self.norm = nn.LayerNorm(self.dim)
        self.concepts.setup(self.dim)

    def forward(self, texts: Sequence[str]) -> Encoded:
        numbers = [[0, *self.numbers_of(text)[: self.room]] for text in texts]
        lengths = torch.tensor([len(row) for row in numbers])
        filled = torch.tensor([row + [0] * (self.room + 1 - len(row)) for row in numbers])
        device = self.table.weight.device
        mask = (torch.arange(self.room + 1) < lengths[:, None]).to(device)
        h = self._embedded(filled.to(device)) + self.places
        for block in self.blocks:
            h = block(h, mask)
        tokens = self.norm(h) * mask[..., None]
        return Encoded(tokens, mask, tokens.sum(1) / mask.sum(1, keepdim=True))

    def _embedded(self, numbers: Tensor) -> Tensor:
        if not self.concepts.sizes:
            return self.table(numbers)
        return F.embedding(numbers, torch.cat([self.table.weight, self.concepts.rows()]))

    def lengths(self, texts: Sequence[str]) -> list[int]:
        return [len(self.numbers_of(text)) for text in texts]

    def adapted(self, weights: Mapping[str, Tensor], learned: Mapping[str, Any]) -> dict[str, Tensor]:
        made = dict(weights)
        theirs = made.get("places")
        if theirs is not None and theirs.shape != self.places.shape and theirs.shape[1:] == (self.dim,):
            made["places"], both = self.places.detach().clone(), min(len(theirs), len(self.places))
            made["places"][:both] = theirs[:both].to(made["places"])
        return made
