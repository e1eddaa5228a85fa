"""Diffusion in the pixels themselves."""

import torch
from torch import Tensor

from diffexp.codecs.codec import Codec
from diffexp.errors import DivergedError
from diffexp.randomness import Draws


class Pixels(Codec):
    """uint8 0..255 as float32 in [−1, 1], and back by rounding and clamping."""

    pixels = True

    def encode(self, image: Tensor, noise: Draws | None = None) -> Tensor:
        return of_bytes(image)

    def decode(self, x: Tensor) -> Tensor:
        check_finite(x)
        return to_bytes(x)


def of_bytes(image: Tensor) -> Tensor:
    """Return uint8 images as float32 in [−1, 1]."""
    return image.float() / 127.5 - 1


def to_bytes(x: Tensor) -> Tensor:
    """Return images near [−1, 1] as uint8, rounded and clamped."""
    return ((x + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def check_finite(x: Tensor, do: str = "type clip=static, or raise sampler.steps") -> None:
    """Raise DivergedError when an image of a batch, (B, C, H, W), is not finite."""
    bad = int((~x.isfinite()).flatten(1).any(1).sum())
    if bad:
        raise DivergedError(f"{bad} of {len(x)} generated images are not finite", "", do)
