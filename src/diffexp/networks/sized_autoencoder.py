"""An autoencoder for images of any size: how many times it halves them."""

from collections.abc import Callable
from inspect import signature
from typing import Any

from diffexp.errors import ConfigError
from diffexp.networks.autoencoder import Autoencoder, Shape
from diffexp.networks.sized import halvings


def sized_autoencoder(
    image_size: int | tuple[int, int],
    in_channels: int,
    latent_channels: int = 4,
    channels: int = 16,
    blocks: int = 1,
    attention: bool = False,
    groups: int = 8,
    dropout: float = 0.0,
) -> Autoencoder:
    """Return an autoencoder for images of any even size: latents half as large below 16 pixels, a quarter up
    to 64, an eighth above, as far as the sides can be halved. Raises ConfigError for odd sides.
    """
    side = image_size if isinstance(image_size, int) else min(image_size)
    depth = min(1 if side < 16 else 2 if side <= 64 else 3, halvings(image_size))
    if depth == 0:
        what = f"images of {image_size} pixels cannot be made smaller"
        do = "resize them to even sides with data.size, or take autoencoder=kl_f4_tiny with other levels"
        raise ConfigError(what, "autoencoder", do)
    mult = (1, *(2,) * depth)
    return Autoencoder(in_channels, latent_channels, channels, mult, blocks, attention, groups, dropout)


def autoencoder_for(shape: Shape, network: Callable[..., Any]) -> Any:
    """Return the autoencoder that `network` makes for images (C, H, W): it is called with in_channels, and
    with image_size, a number or (H, W), where it has such a parameter.
    """
    channels, height, width = shape
    options: dict[str, Any] = {"in_channels": channels}
    if "image_size" in signature(network).parameters:
        options["image_size"] = height if height == width else (height, width)
    return network(**options)
