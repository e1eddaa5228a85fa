"""The words of a caption, by a table that is trained along with the network."""

from collections.abc import Sequence
from typing import Any
from zlib import crc32

import torch
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
