"""A small network that is told words, a vector and a class, for tests of conditionings."""

import torch.nn.functional as F
from plugins.reader import Reader
from torch import Tensor, nn

from diffexp.condition import Condition


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
