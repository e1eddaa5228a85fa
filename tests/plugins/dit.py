"""A small diffusion transformer. Peebles & Xie 2023."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffexp.condition import Condition
from diffexp.errors import ConfigError


def norm(h: Tensor) -> Tensor:
    return F.layer_norm(h, h.shape[-1:])


class Block(nn.Module):
    """Attention and a perceptron, each shifted, scaled and gated by what is told; the gates start at 0."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.tell = heads, nn.Linear(width, 6 * width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        nn.init.zeros_(self.tell.weight), nn.init.zeros_(self.tell.bias)

    def forward(self, h: Tensor, told: Tensor) -> Tensor:
        a, b, gate, c, d, gate2 = self.tell(F.silu(told))[:, None].chunk(6, -1)
        q, k, v = self.qkv(norm(h) * (1 + a) + b).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        h = h + gate * self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return h + gate2 * self.narrow(F.gelu(self.wide(norm(h) * (1 + c) + d)))


class DiT(nn.Module):
    def __init__(
        self, image_size: int | tuple[int, int], in_channels: int, out_channels: int,
        num_classes: int | None = None, patch: int = 2, width: int = 32, depth: int = 2, heads: int = 2,
    ) -> None:  # fmt: skip
        super().__init__()
        height, wide = (image_size, image_size) if isinstance(image_size, int) else image_size
        if height % patch or wide % patch:
            raise ConfigError(f"patch={patch} does not divide {height} x {wide}", "network.patch", "give 1")
        self.patch, self.rows = patch, height // patch
        self.into = nn.Linear(in_channels * patch**2, width)
        self.place = nn.Parameter(0.1 * torch.randn(height * wide // patch**2, width))
        self.time = nn.Sequential(nn.Linear(1, width), nn.SiLU(), nn.Linear(width, width))
        self.label = None if num_classes is None else nn.Embedding(num_classes + 1, width)  # the last: null
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.back = nn.Linear(width, out_channels * patch**2)

    def forward(self, x: Tensor, t: Tensor, cond: Condition | None = None) -> Tensor:
        told = self.time(t[:, None])
        if self.label is not None:
            assert cond is not None and cond.label is not None
            told = told + self.label(cond.label)
        h = self.into(F.pixel_unshuffle(x, self.patch).flatten(2).transpose(1, 2)) + self.place
        for block in self.blocks:
            h = block(h, told)
        image = self.back(norm(h)).transpose(1, 2).unflatten(2, (self.rows, -1))
        return F.pixel_shuffle(image, self.patch)
