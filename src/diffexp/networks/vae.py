"""A plain variational autoencoder of fully connected layers, as in Kingma & Welling 2014: z is a vector."""

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from diffexp.errors import ConfigError
from diffexp.networks.autoencoder import LOGVAR, Shape
from diffexp.networks.levels import sides


class VAE(nn.Module):
    """q(z|x) and x̂ of images of `image_size`, a number or (H, W). latent_channels: the numbers of z, a map of
    one pixel; hidden: the widths of the encoder's layers, which are the decoder's from the last to the first.
    """

    def __init__(
        self,
        image_size: int | tuple[int, int],
        in_channels: int,
        latent_channels: int = 16,
        hidden: Sequence[int] = (512, 256),
    ) -> None:
        super().__init__()
        if latent_channels < 1 or not hidden or min(hidden) < 1:
            what = f"latent_channels={latent_channels}, hidden={list(hidden)} make no network"
            raise ConfigError(what, "autoencoder.network", "give numbers from 1")
        self.shape: Shape = (in_channels, *sides(image_size))
        self.latent_channels, numbers = latent_channels, math.prod(self.shape)
        self.encoder = _layers([numbers, *hidden, 2 * latent_channels])
        self.decoder = _layers([latent_channels, *hidden[::-1], numbers])

    @property
    def last_layer(self) -> nn.Parameter:
        """The weight of the decoder's last layer, at which the adaptive weight is measured."""
        return self.get_parameter(f"decoder.{len(self.decoder) - 1}.weight")

    def latent(self, shape: Shape) -> Shape:
        """Return the shape of z, (L, 1, 1). Raises ConfigError for images of another shape than its own."""
        if tuple(shape) != self.shape:
            what = f"images of shape {list(shape)}, and an autoencoder of {list(self.shape)}"
            raise ConfigError(what, "autoencoder.network", "take an autoencoder of such images")
        return self.latent_channels, 1, 1

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of z, each (B, L, 1, 1), of float32 images (B, C, H, W) in [−1, 1]."""
        mean, logvar = self.encoder(x.flatten(1))[:, :, None, None].chunk(2, 1)
        return mean, logvar.clamp(*LOGVAR)

    def decode(self, z: Tensor) -> Tensor:
        """Return images (B, C, H, W), near [−1, 1], of latents (B, L, 1, 1)."""
        return self.decoder(z.flatten(1)).view(len(z), *self.shape)

    def forward(self, x: Tensor) -> Tensor:
        """Return the images of their mean latents."""
        return self.decode(self.moments(x)[0])


def _layers(widths: Sequence[int]) -> nn.Sequential:
    parts = list[nn.Module]()
    for i, (c_in, c_out) in enumerate(pairwise(widths)):
        parts += [*([nn.SiLU()] if i else []), nn.Linear(c_in, c_out)]
    return nn.Sequential(*parts)
