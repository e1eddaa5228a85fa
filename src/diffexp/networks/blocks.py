"""The parts of the UNet: each is (h, context) -> h, so that a level is a plain list of them.

    residual block   h + conv(drop(silu(norm(conv(silu(norm(h))) + e))))
    with scale_shift      conv(drop(silu(norm(conv(...)) (1 + scale) + shift))),  [scale, shift] = e
    attention        h + proj(softmax(q k^T / sqrt(d)) v),  q, k, v = conv(norm(h))

The last convolution of each is zero at the start: a block begins as the identity. All maps are (B, C, H, W)
stored channels_last, and no part changes that: training on a CPU is 5 to 10 percent faster than in NCHW in
float32, and as fast in bfloat16, given Norm below (with 16 channels in a group, faster there too).
"""

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffexp.errors import ConfigError

Resample = Literal["up", "down"]


class Context(NamedTuple):
    """All parts are given this beside the map. embeddings: of time and condition, one for each residual
    block, (B, its embedding_width); tokens: (B, L, token_dim), 0 where they do not count; mask: what is added
    to the scores of the tokens, (B, 1, 1, L), None where all count.
    """

    embeddings: tuple[Tensor, ...]
    tokens: Tensor | None = None
    mask: Tensor | None = None


class Norm(nn.GroupNorm):
    """Group normalisation (Wu & He 2018) of channels_last maps, in the dtype of the map.

    On a CPU torch's bfloat16 kernel for channels_last is 2.5 to 5 times slower than its float32 kernel, casts
    included, when there are fewer than 16 channels in a group; such groups are normalised in float32.
    """

    def __init__(self, groups: int, channels: int, eps: float = 1e-5) -> None:
        if groups < 1 or channels % groups:
            what = f"{channels} channels cannot be normalised in {groups} groups"
            raise ConfigError(
                what, "network.groups", f"give a divisor of {channels}, or other network.channels"
            )
        super().__init__(groups, channels, eps)  # pyright: ignore[reportUnknownMemberType], torch has no type

    def forward(self, input: Tensor) -> Tensor:
        if input.dtype == torch.float32 or not input.is_cpu or self.num_channels // self.num_groups >= 16:
            return super().forward(input)
        weight, bias = self.weight.float(), self.bias.float()
        return F.group_norm(input.float(), self.num_groups, weight, bias, self.eps).to(input.dtype)


def conv3x3(c_in: int, c_out: int, stride: int = 1) -> nn.Conv2d:
    """Return a 3x3 convolution that keeps the size, or with stride 2 halves it."""
    return nn.Conv2d(c_in, c_out, 3, stride, padding=1)


def resample(h: Tensor, how: Resample) -> Tensor:
    """Halve the size by averaging 2x2, or double it by repeating; no weights."""
    return F.avg_pool2d(h, 2) if how == "down" else F.interpolate(h, scale_factor=2.0, mode="nearest")


class Downsample(nn.Module):
    """Half the size by a 3x3 convolution of stride 2 (Ho et al. 2020; padded on all sides, as ADM does)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = conv3x3(channels, channels, stride=2)

    def forward(self, h: Tensor, context: Context) -> Tensor:
        return self.conv(h)


class Upsample(nn.Module):
    """Twice the size by repeating, then a 3x3 convolution. Ho et al. 2020."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = conv3x3(channels, channels)

    def forward(self, h: Tensor, context: Context) -> Tensor:
        return self.conv(resample(h, "up"))


class ResidualBlock(nn.Module):
    """The residual block of Ho et al. 2020; scale_shift: Nichol & Dhariwal 2021; how: Dhariwal & Nichol 2021
    (BigGAN's up/down).

    (B, c_in, H, W) -> (B, c_out, H', W'), with H' = H, H/2 or 2H. Its embedding e is
    context.embeddings[index], (B, embedding_width).
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        groups: int = 32,
        dropout: float = 0.0,
        scale_shift: bool = False,
        how: Resample | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise ConfigError(f"dropout={dropout}", "network.dropout", "give a share in [0, 1), e.g. 0.1")
        self.dropout, self.scale_shift = dropout, scale_shift
        self.how: Resample | None = how
        self.index, self.embedding_width = 0, 2 * c_out if scale_shift else c_out
        self.norm1, self.conv1 = Norm(groups, c_in), conv3x3(c_in, c_out)
        self.norm2, self.conv2 = Norm(groups, c_out), conv3x3(c_out, c_out)
        self.skip = nn.Identity() if c_in == c_out else nn.Conv2d(c_in, c_out, 1)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        h = F.silu(self.norm1(x))
        if self.how is not None:
            h, x = resample(h, self.how), resample(x, self.how)
        h, e = self.conv1(h), context.embeddings[self.index][:, :, None, None]
        if self.scale_shift:
            scale, shift = e.chunk(2, 1)
            h = torch.addcmul(shift, self.norm2(h), 1 + scale)
        else:
            h = self.norm2(h.add_(e))
        h = self.conv2(F.dropout(F.silu(h), self.dropout, self.training))
        return h.add_(self.skip(x))


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return softmax(q k^T / sqrt(d) + mask) v of (B, heads, positions, d).

    Written out for small maps on a CPU: there, in training, it is 1.1 to 1.7 times as fast as torch's kernel
    in float32, and 2 to 6 times in bfloat16, whose backward pass is slow (4x4 to 16x16, 32 to 256 channels).
    """
    mask = None if mask is None else mask.to(q.dtype)
    if q.is_cpu and q.shape[-2] * k.shape[-2] <= 256 * 256:
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
        return (scores if mask is None else scores + mask).softmax(-1) @ v
    return F.scaled_dot_product_attention(q, k, v, mask)


def count_heads(channels: int, heads: int, head_channels: int | None) -> int:
    """Return the number of heads: `heads`, unless head_channels gives the channels of each (Dhariwal & Nichol
    2021). Raises ConfigError where they do not divide the channels.
    """
    key, parts = ("heads", heads) if head_channels is None else ("head_channels", head_channels)
    if parts < 1 or channels % parts:
        what = f"{channels} channels cannot be split with {key}={parts}"
        raise ConfigError(what, f"network.{key}", f"give a divisor of {channels}")
    return heads if head_channels is None else channels // head_channels


class Attention(nn.Module):
    """Self-attention over the H W positions of a map. Ho et al. 2020; heads: Nichol & Dhariwal 2021."""

    def __init__(self, channels: int, groups: int = 32, heads: int = 1) -> None:
        super().__init__()
        self.heads = heads
        self.norm = Norm(groups, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.proj = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        # (B, H W, 3 C), a view in channels_last, as are its three parts, (B, heads, H W, d)
        qkv = self.qkv(self.norm(x)).flatten(2).transpose(1, 2).chunk(3, -1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in qkv)
        h = attend(q, k, v).transpose(1, 2).flatten(2)  # (B, H W, C), from where the map is a view again
        return self.proj(h.transpose(1, 2).unflatten(2, x.shape[2:])).add_(x)
