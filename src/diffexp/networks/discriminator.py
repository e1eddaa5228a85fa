"""The discriminator of patches (PatchGAN; Isola et al. 2017): of each patch of an image, whether it is real.

Its normalisation is of groups of channels, not of the batch as in LDM: a logit is then a function of its
image alone, the same on any number of ranks.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from diffexp.errors import ConfigError
from diffexp.networks.blocks import Norm

SMALLEST = 3  # the side of the maps that two more convolutions make a logit of


class Discriminator(nn.Module):
    """(B, in_channels, H, W) -> logits (B, 1, h, w). layers: convolutions that halve the size, at most, as
    far as the sides of the images, `size`, allow. Raises ConfigError.
    """

    def __init__(self, in_channels: int, size: Sequence[int], channels: int = 64, layers: int = 3) -> None:
        super().__init__()
        where = "autoencoder.adversarial"
        if channels < 8 or channels % 8 or layers < 1:
            what = f"channels={channels}, layers={layers} make no discriminator"
            raise ConfigError(what, where, "give a multiple of 8, and 1 layer or more")
        self.layers = min(layers, max(i for i in range(64) if i == 0 or min(size) >> i >= SMALLEST))
        if not self.layers:
            what = f"images of {size[0]}x{size[1]} are too small for a discriminator of patches"
            raise ConfigError(what, where, f"give images of {2 * SMALLEST} pixels or more, or weight=0")
        widths = [channels * min(2**i, 8) for i in range(self.layers + 1)]
        parts: list[nn.Module] = [nn.Conv2d(in_channels, widths[0], 4, 2, 1), nn.LeakyReLU(0.2)]
        for i in range(1, len(widths)):
            stride = 2 if i < self.layers else 1
            parts += [nn.Conv2d(widths[i - 1], widths[i], 4, stride, 1, bias=False), Norm(8, widths[i])]
            parts.append(nn.LeakyReLU(0.2))
        self.body = nn.Sequential(*parts, nn.Conv2d(widths[-1], 1, 4, 1, 1))
        self.apply(_initialise)
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits; high: real."""
        return self.body(x)


def _initialise(part: nn.Module) -> None:
    if isinstance(part, nn.Conv2d):
        nn.init.normal_(part.weight, 0.0, 0.02)
