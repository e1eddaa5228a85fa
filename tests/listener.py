"""A network that is told words, a vector and a class, and a writer of a cache, for tests of captions."""

import hashlib
from pathlib import Path

import torch
import torch.nn.functional as F
from plugins.reader import Reader
from torch import Tensor, nn

from diffexp.condition import Condition
from diffexp.conditioning.encoders.cache import Cache


class Listener(nn.Module):
    """A `Reader` where there are tokens; the vector, and the class, are added to the image."""

    def __init__(
        self, image_size: int | tuple[int, int], in_channels: int, out_channels: int,
        token_dim: int | None = None, vector_dim: int | None = None, num_classes: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.reader = None if token_dim is None else Reader(image_size, in_channels, out_channels, token_dim)
        self.vector = None if vector_dim is None else nn.Linear(vector_dim, in_channels)
        self.label = None if num_classes is None else nn.Embedding(num_classes + 1, in_channels)
        self.last = nn.Conv2d(in_channels, out_channels, 3, padding=1)

    def forward(self, x: Tensor, t: Tensor, cond: Condition | None = None) -> Tensor:
        assert cond is not None
        if self.vector is not None:
            assert cond.vector is not None
            x = x + self.vector(cond.vector)[:, :, None, None]
        if self.label is not None:
            assert cond.label is not None
            x = x + self.label(cond.label)[:, :, None, None]
        return F.silu(self.last(x)) if self.reader is None else self.last(x) + self.reader(x, t, cond)


def fill(folder: Path, kept: int) -> None:
    """Keep that many rows, one after another: the n-th is n + 1 rows of n."""
    cache = Cache(folder, 4, torch.float32, 1e9)
    for n in range(kept):
        cache.keep({hashlib.sha256(bytes([n])).digest(): torch.full((n + 1, 4), float(n))})
