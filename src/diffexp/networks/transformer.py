"""What a map is told by tokens, such as the words of a caption. Rombach et al. 2022.

    attention        x + proj(softmax(q k^T / sqrt(d)) v),  q of norm(x), k and v of norm(x) or of the tokens
    feed-forward     x + proj(a gelu(b)),  [a, b] = W norm(x),  4 C wide (GEGLU, Shazeer 2020)

x: (B, N, C), the N = H W positions of a map, which in channels_last is a view of it; norm: over the channels
of each position. After the UNet's own self-attention stand cross-attention and perhaps a feed-forward, the
last projection of each zero at the start (Positions). Stable Diffusion has a SpatialTransformer instead.
"""

from collections.abc import Iterable

import torch.nn.functional as F
from torch import Tensor, nn

from diffexp.networks.blocks import Context, Norm, attend


class SequenceAttention(nn.Module):
    """Self-attention, or where token_dim is given cross-attention: to the tokens, (B, L, token_dim).

    A row without tokens that count attends to nothing: 0 before the projection.
    """

    def __init__(self, channels: int, heads: int = 1, token_dim: int | None = None) -> None:
        super().__init__()
        self.heads, self.cross = heads, token_dim is not None
        self.norm = nn.LayerNorm(channels)
        self.q = nn.Linear(channels, channels, bias=False)
        self.kv = nn.Linear(token_dim or channels, 2 * channels, bias=False)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        h = self.norm(x)
        source = context.tokens if self.cross else h
        assert source is not None  # UNet sees to it
        parts = (self.q(h), *self.kv(source).chunk(2, -1))
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        h = attend(q, k, v, context.mask if self.cross else None)
        return x + self.proj(h.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Each position for itself, through `factor` times as many channels, half of them gates."""

    def __init__(self, channels: int, factor: int = 4) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.into = nn.Linear(channels, 2 * factor * channels)
        self.proj = nn.Linear(factor * channels, channels)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        value, gate = self.into(self.norm(x)).chunk(2, -1)
        return x + self.proj(value * F.gelu(gate))


def over_positions(parts: Iterable[nn.Module], x: Tensor, context: Context) -> Tensor:
    """Return a map, (B, C, H, W), after parts that take its positions, (B, H W, C)."""
    h: Tensor = x.flatten(2).transpose(1, 2)
    for part in parts:
        h = part(h, context)
    return h.transpose(1, 2).reshape(x.shape)  # a view, channels_last


class Positions(nn.ModuleList):
    """Attention and feed-forward over the positions of a map, one after the other."""

    def forward(self, x: Tensor, context: Context) -> Tensor:
        return over_positions(self, x, context)


class SpatialTransformer(nn.Module):
    """The attention block of Stable Diffusion: x + out(parts(into(norm(x)))), `out` zero at the start."""

    def __init__(self, channels: int, groups: int, parts: list[nn.Module]) -> None:
        super().__init__()
        self.norm = Norm(groups, channels, eps=1e-6)
        self.into = nn.Conv2d(channels, channels, 1)
        self.parts = nn.ModuleList(parts)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        return self.out(over_positions(self.parts, self.into(self.norm(x)), context)) + x
