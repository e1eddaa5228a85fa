"""Diffusion in the pixels, each square of four as four channels."""

import torch
import torch.nn.functional as F
from torch import Tensor

from diffexp.codecs import Codec, check_finite
from diffexp.errors import ConfigError
from diffexp.randomness import Draws


class Shuffled(Codec):
    def latent(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        channels, height, width = shape
        if height % 2 or width % 2:
            raise ConfigError(f"{height} x {width} cannot be halved", "codec", "take other images")
        return 4 * channels, height // 2, width // 2

    def encode(self, image: Tensor, noise: Draws | None = None) -> Tensor:
        return F.pixel_unshuffle(image.float() / 127.5 - 1, 2)

    def decode(self, x: Tensor) -> Tensor:
        check_finite(x)
        return ((F.pixel_shuffle(x, 2) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
