"""A UNet for images of any size: as many levels as halve it, more channels on smaller maps."""

from collections.abc import Sequence
from math import gcd

from diffexp.errors import ConfigError
from diffexp.networks.levels import sides
from diffexp.networks.unet import UNet

SMALLEST = 4  # pixels of the side of the smallest maps
ATTENDED = 16  # the side of the largest maps that have attention


def sized_unet(
    image_size: int | tuple[int, int],
    in_channels: int,
    out_channels: int,
    num_classes: int | None = None,
    channels: int = 32,
    levels: int = 4,
    blocks: int = 1,
    dropout: float = 0.1,
    groups: int = 32,
    token_dim: int | None = None,
    vector_dim: int | None = None,
    sizes: int | None = None,
) -> UNet:
    """Return a UNet with at most `levels` levels of 1, 2, 3, ... times `channels` channels.

    image_size: one number, or (H, W). There is a level for each time that both sides can be halved, down to
    maps of 4 pixels; maps of at most 16 have attention, of 4 heads where the network takes tokens, and of one
    where not. groups: of every normalisation, as far as they divide the channels; with few, the offsets
    between channels drown the noise in their maps, and training has been seen to stay where it begins. Raises
    ConfigError for channels that make no network.
    """
    if levels < 1:
        raise ConfigError(f"levels={levels}", "network.levels", "give 1 or more")
    depth = min(levels, halvings(image_size) + 1)
    small = [i for i in range(1, depth) if max(sides(image_size)) >> i <= ATTENDED]
    return UNet(
        image_size,
        in_channels,
        out_channels,
        num_classes,
        channels,
        tuple(range(1, depth + 1)),
        blocks,
        tuple(f"1/{1 << i}" for i in small),
        heads=1 if token_dim is None else gcd(4, channels),
        dropout=dropout,
        groups=gcd(groups, channels),
        token_dim=token_dim,
        vector_dim=vector_dim,
        sizes=sizes,
    )


def halvings(image_size: int | Sequence[int]) -> int:
    """Return how many times both sides can be halved without a rest, down to maps of 4 pixels."""
    height, width = sides(image_size)
    count = 0
    while height % 2 == width % 2 == 0 and min(height, width) // 2 >= SMALLEST:
        height, width, count = height // 2, width // 2, count + 1
    return count
