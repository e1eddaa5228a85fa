"""The plan of a UNet: which parts stand where.

Level i has maps of size image_size / 2^i and channels * channel_mult[i] channels. Down: `blocks` residual
blocks per level, then half the size; every result, and the input, is kept as a skip. Up: blocks + 1 per
level, one for each skip, then twice the size. Attention follows each block of a level that has it, and
stands in the middle always.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from diffexp.errors import ConfigError
from diffexp.networks.blocks import Attention, Downsample, ResidualBlock, Told, Upsample


class Chain(nn.ModuleList):
    """Parts (h, told) -> h, one after the other."""

    def forward(self, h: Tensor, told: Told) -> Tensor:
        for part in self:
            h = part(h, told)
        return h


@dataclass(frozen=True)
class Level:
    """One size of maps."""

    channels: int
    attention: bool


def plan(
    image_size: int, channels: int, channel_mult: tuple[int, ...], attention: tuple[int, ...]
) -> list[Level]:
    """The levels, the largest maps first. Raises ConfigError where they do not fit."""
    if channels < 4 or channels % 2 or not channel_mult or min(channel_mult) < 1:
        what = f"channels={channels} and channel_mult={list(channel_mult)} make no network"
        raise ConfigError(what, "network.channels", "give an even number from 4, and multiples of it from 1")
    most = (image_size & -image_size).bit_length()  # one more than the times that it can be halved
    if image_size < 1 or len(channel_mult) > most:
        what = f"images of size {image_size} cannot be halved {len(channel_mult) - 1} times"
        do = f"give at most {most} numbers, or images of another size"
        raise ConfigError(what, "network.channel_mult", do)
    sizes = [image_size >> i for i in range(len(channel_mult))]
    if missing := sorted(set(attention) - set(sizes)):
        what = (
            f"no maps of size {', '.join(map(str, missing))} to attend in: those of this network are {sizes}"
        )
        raise ConfigError(what, "network.attention", f"choose from {sizes}, or give [] for the middle only")
    return [Level(channels * m, size in attention) for m, size in zip(channel_mult, sizes, strict=True)]


@dataclass(frozen=True)
class Paths:
    """Builds the three paths, of the options of UNet."""

    levels: list[Level]
    blocks: int
    groups: int
    heads: int
    head_channels: int | None
    dropout: float
    scale_shift: bool
    updown: bool

    def __post_init__(self) -> None:
        if self.blocks < 1:
            raise ConfigError(f"blocks={self.blocks}", "network.blocks", "give a number from 1, e.g. 2")

    def block(self, c_in: int, c_out: int) -> ResidualBlock:
        return ResidualBlock(c_in, c_out, self.groups, self.dropout, self.scale_shift)

    def attend(self, c: int) -> Attention:
        return Attention(c, self.groups, self.heads, self.head_channels)

    def halve(self, c: int) -> nn.Module:
        if not self.updown:
            return Downsample(c)
        return ResidualBlock(c, c, self.groups, self.dropout, self.scale_shift, "down")

    def double(self, c: int) -> nn.Module:
        if not self.updown:
            return Upsample(c)
        return ResidualBlock(c, c, self.groups, self.dropout, self.scale_shift, "up")

    def down(self, c: int) -> tuple[nn.ModuleList, list[int]]:
        """The way down from c channels, and the channels of every skip, the input's first."""
        path, skips = nn.ModuleList(), [c]
        for i, level in enumerate(self.levels):
            if i:
                path.append(Chain([self.halve(c)]))
                skips.append(c)
            for _ in range(self.blocks):
                path.append(Chain([self.block(c, level.channels), *self._attention(level)]))
                c = level.channels
                skips.append(c)
        return path, skips

    def middle(self) -> Chain:
        c = self.levels[-1].channels
        return Chain([self.block(c, c), self.attend(c), self.block(c, c)])

    def up(self, skips: list[int]) -> nn.ModuleList:
        """The way up, which takes the skips from the last to the first."""
        path, skips, c = nn.ModuleList(), list(skips), self.levels[-1].channels
        for i, level in reversed(list(enumerate(self.levels))):
            for last in [False] * self.blocks + [True]:
                chain = Chain([self.block(c + skips.pop(), level.channels), *self._attention(level)])
                c = level.channels
                if last and i:
                    chain.append(self.double(c))
                path.append(chain)
        return path

    def _attention(self, level: Level) -> list[Attention]:
        return [self.attend(level.channels)] if level.attention else []
