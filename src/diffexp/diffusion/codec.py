"""Between the images of the data and the space in which diffusion works."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from diffexp.errors import DivergedError


class Codec(Protocol):
    """encode: uint8 (B, C, H, W) to float32; decode: back to uint8."""

    def encode(self, image: Tensor) -> Tensor: ...

    def decode(self, x: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Pixels:
    """Pixels themselves: uint8 0..255 as float32 in [−1, 1], and back by rounding and clamping."""

    def encode(self, image: Tensor) -> Tensor:
        return image.float() / 127.5 - 1

    def decode(self, x: Tensor) -> Tensor:
        """uint8 of the same shape. Raises DivergedError when an image is not finite."""
        bad = int((~x.isfinite()).flatten(1).any(1).sum())
        if bad:
            what = f"{bad} of {len(x)} generated images are not finite"
            raise DivergedError(what, "", "type clip=static, or raise sampler.steps")
        return ((x + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
