"""The levels of a UNet: how many channels their maps have, and which of them have (cross-)attention.

Level i has maps of size (H / 2^i, W / 2^i) and channels * channel_mult[i] channels. A level is named by its
downsampling factor, 1/2^i, or where the images are square by the size of its maps: with images of 32, "1/2"
and 16 are the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from diffexp.errors import ConfigError


@dataclass(frozen=True)
class MapLevel:
    """One size of maps."""

    channels: int
    attention: bool
    context: bool


def plan(
    image_size: int | Sequence[int],
    channels: int,
    channel_mult: Sequence[int],
    attention: Sequence[int | str],
    context: Sequence[int | str] | None = None,
) -> list[MapLevel]:
    """Return the levels, the largest maps first. Raises ConfigError where they do not fit.

    image_size: one number, or (H, W); attention: sizes of square maps, or factors such as "1/4"; context: the
    same of cross-attention, None for those of `attention`.
    """
    if channels < 4 or channels % 2 or not channel_mult or min(channel_mult) < 1:
        what = f"channels={channels} and channel_mult={list(channel_mult)} make no network"
        raise ConfigError(what, "network.channels", "give an even number from 4, and multiples of it from 1")
    height, width = sides(image_size)
    _check_halving(height, width, len(channel_mult))
    attended = _named(height, width, len(channel_mult), attention, "attention")
    told = attended if context is None else _named(height, width, len(channel_mult), context, "context")
    return [MapLevel(channels * m, i in attended, i in told) for i, m in enumerate(channel_mult)]


def sides(image_size: int | Sequence[int]) -> tuple[int, int]:
    """Return (H, W) of a size that is one number where they are the same."""
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    return height, width


def _check_halving(height: int, width: int, levels: int) -> None:
    # the most levels: one more than the times that a side can be halved
    most, side, name = min(((s & -s).bit_length(), s, n) for s, n in ((height, "height"), (width, "width")))
    if min(height, width) < 1 or levels > most:
        what = f"images of {'size' if height == width else name} {side} cannot be halved {levels - 1} times"
        do = f"give at most {most} numbers, or images of another size"
        raise ConfigError(what, "network.channel_mult", do)


def _named(height: int, width: int, levels: int, names: Sequence[int | str], key: str) -> set[int]:
    """Return the numbers of the levels that names, of network.KEY, stand for."""
    factors = [f"1/{1 << i}" for i in range(levels)]
    sizes = [height >> i for i in range(levels)] if height == width else []
    number = {name: i for known in (factors, sizes) for i, name in enumerate(known)}
    if missing := list(dict.fromkeys(name for name in names if name not in number)):
        shown = ", ".join(map(str, missing))
        if sizes:
            what = f"no maps of size {shown} to attend in: those of this network are {sizes}"
            do = f"choose from {sizes}, or from [{', '.join(factors)}], the same by their factors"
        else:
            maps = [f"{factor} ({height >> i}x{width >> i})" for i, factor in enumerate(factors)]
            what = f"no maps of size {shown} to attend in: images of {height}x{width} are not square"
            do = f"choose from {', '.join(maps)}, as in network.{key}=[{factors[-1]}]"
        raise ConfigError(what, f"network.{key}", f"{do}; or give [] for the middle only")
    return {number[name] for name in names}
