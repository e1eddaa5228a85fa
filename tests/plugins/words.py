"""A network that reads captions, and a vocabulary that is trained along with it."""

from collections.abc import Sequence
from typing import Any
from zlib import crc32

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffexp.condition import Asked, Condition
from diffexp.conditioning import Conditioning
from diffexp.errors import ConfigError


class Words(Conditioning):
    """A row of a table for each word, by its hash, and row 0 before them; what is past `longest` is cut."""

    asks = ("text",)

    def __init__(self, rows: int = 256, width: int = 16, longest: int = 8, dropout: float = 0.1) -> None:
        super().__init__()
        self.table, self.longest, self.dropout = nn.Embedding(rows, width), longest, dropout

    def network(self) -> dict[str, Any]:
        return {"token_dim": self.table.embedding_dim}

    def encode(self, asked: Asked) -> Condition:
        if asked.text is None:
            raise ConfigError("each image must have a caption", "conditioning", "take data with captions")
        return self._read(asked.text)

    def null(self, asked: Asked) -> Condition:
        return self._read(asked.negative or ("",) * len(asked))

    def keep(self, n: int, generator: torch.Generator) -> Tensor | None:
        return torch.rand(n, generator=generator, device=generator.device) >= self.dropout

    @property
    def guidable(self) -> bool:
        return self.dropout > 0

    def _read(self, texts: Sequence[str]) -> Condition:
        rows = torch.zeros(len(texts), self.longest, dtype=torch.int64)
        mask = torch.zeros(len(texts), self.longest, dtype=torch.bool)
        for i, text in enumerate(texts):
            hashes = [1 + crc32(word.encode()) % (self.table.num_embeddings - 1) for word in text.split()]
            some = torch.tensor([0, *hashes][: self.longest])
            rows[i, : len(some)], mask[i, : len(some)] = some, True
        device = self.table.weight.device
        return Condition(tokens=self.table(rows.to(device)), mask=mask.to(device))


class Reader(nn.Module):
    """Three convolutions, and after the first each pixel looks at the words."""

    def __init__(
        self, image_size: int | tuple[int, int], in_channels: int, out_channels: int, token_dim: int,
        width: int = 16,
    ) -> None:  # fmt: skip
        super().__init__()
        self.into, self.time = nn.Conv2d(in_channels, width, 3, padding=1), nn.Linear(1, width)
        self.ask, self.tell = nn.Linear(width, token_dim), nn.Linear(token_dim, width)
        self.middle = nn.Conv2d(width, width, 3, padding=1)
        self.back = nn.Conv2d(width, out_channels, 3, padding=1)

    def forward(self, x: Tensor, t: Tensor, cond: Condition | None = None) -> Tensor:
        assert cond is not None and cond.tokens is not None and cond.mask is not None
        h = F.silu(self.into(x) + self.time(t[:, None])[:, :, None, None])
        q = self.ask(h.flatten(2).transpose(1, 2))
        seen = F.scaled_dot_product_attention(q, cond.tokens, cond.tokens, cond.mask[:, None])
        h = h + self.tell(seen).transpose(1, 2).unflatten(2, h.shape[2:])
        return self.back(F.silu(self.middle(h)))
