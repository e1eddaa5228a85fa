"""Two codecs that halve height and width: one with weights from a file, one without any."""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from diffexp.codecs import Codec, check_finite
from diffexp.codecs.codec import Noise
from diffexp.errors import ConfigError, DataError


class Shuffled(Codec):
    """The pixels themselves, each square of four as four channels."""

    def latent(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        channels, height, width = shape
        if height % 2 or width % 2:
            raise ConfigError(f"{height} x {width} cannot be halved", "codec", "take other images")
        return 4 * channels, height // 2, width // 2

    def encode(self, image: Tensor, noise: Noise | None = None) -> Tensor:
        return F.pixel_unshuffle(image.float() / 127.5 - 1, 2)

    def decode(self, x: Tensor) -> Tensor:
        check_finite(x)
        return ((F.pixel_shuffle(x, 2) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


class Halved(Shuffled):
    """A convolution down, and one up again. file: their weights; std: of x around its mean."""

    def __init__(self, channels: int = 1, file: str | None = None, std: float = 0.0) -> None:
        super().__init__()
        self.source, self.std = file, std
        self.down = nn.Conv2d(channels, 4 * channels, 2, 2, bias=False)
        self.up = nn.ConvTranspose2d(4 * channels, channels, 2, 2, bias=False)

    def check(self) -> None:
        if self.source is not None and not Path(self.source).is_file():
            raise DataError("the codec's weights are not there", self.source, "type codec.file=...")

    def load(self) -> None:
        self.load_state_dict(load_file(str(self.source)))

    def encode(self, image: Tensor, noise: Noise | None = None) -> Tensor:
        mean = self.down(image.float() / 127.5 - 1)
        return mean if noise is None else mean + self.std * noise(0)

    def decode(self, x: Tensor) -> Tensor:
        check_finite(x)
        return ((self.up(x) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
