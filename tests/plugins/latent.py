"""Half the height and width, by convolutions whose weights come from a file."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from diffexp.codecs import Codec, check_finite
from diffexp.errors import DataError
from diffexp.randomness import Draws


class Halved(Codec):
    """file: the weights, .safetensors; std: of x around its mean."""

    def __init__(self, channels: int = 1, file: str | None = None, std: float = 0.0) -> None:
        super().__init__()
        self.source, self.std = file, std
        self.down = nn.Conv2d(channels, 4 * channels, 2, 2, bias=False)
        self.up = nn.ConvTranspose2d(4 * channels, channels, 2, 2, bias=False)

    def latent(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        return 4 * shape[0], shape[1] // 2, shape[2] // 2

    def check(self) -> None:
        if self.source is not None and not Path(self.source).is_file():
            raise DataError("the codec's weights are not there", self.source, "type codec.file=...")

    def load(self) -> None:
        self.load_state_dict(load_file(str(self.source)))

    def encode(self, image: Tensor, noise: Draws | None = None) -> Tensor:
        mean = self.down(image.float() / 127.5 - 1)
        return mean if noise is None else mean + self.std * noise(0)

    def decode(self, x: Tensor) -> Tensor:
        check_finite(x)
        return ((self.up(x) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
