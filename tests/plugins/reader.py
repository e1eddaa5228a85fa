"""A small network that looks at tokens: cross-attention."""

import torch.nn.functional as F
from torch import Tensor, nn

from diffexp.condition import Condition


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
