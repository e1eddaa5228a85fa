"""The plan of a UNet: which parts stand where.

Down: `blocks` residual blocks per level (levels.py), then half the size; every result, and the input, is kept
as a skip. Up: blocks + 1 per level, one for each skip, then twice the size. Attention follows each block of a
level that has it, and stands in the middle always.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from diffexp.errors import ConfigError
from diffexp.networks.blocks import Attention, Context, Downsample, ResidualBlock, Upsample
from diffexp.networks.levels import MapLevel


class Stack(nn.ModuleList):
    """A stack of parts (h, context) -> h, one after the other."""

    def forward(self, h: Tensor, context: Context) -> Tensor:
        for part in self:
            h = part(h, context)
        return h


@dataclass(frozen=True)
class Paths:
    """Builds the three paths, of the options of UNet."""

    levels: list[MapLevel]
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
        """Build the way down from c channels, and the channels of every skip, the input's first."""
        path, skips = nn.ModuleList(), [c]
        for i, level in enumerate(self.levels):
            if i:
                path.append(Stack([self.halve(c)]))
                skips.append(c)
            for _ in range(self.blocks):
                path.append(Stack([self.block(c, level.channels), *self._attention(level)]))
                c = level.channels
                skips.append(c)
        return path, skips

    def middle(self) -> Stack:
        c = self.levels[-1].channels
        return Stack([self.block(c, c), self.attend(c), self.block(c, c)])

    def up(self, skips: list[int]) -> nn.ModuleList:
        """Build the way up, which takes the skips from the last to the first."""
        path, skips, c = nn.ModuleList(), list(skips), self.levels[-1].channels
        for i, level in reversed(list(enumerate(self.levels))):
            for last in [False] * self.blocks + [True]:
                stack = Stack([self.block(c + skips.pop(), level.channels), *self._attention(level)])
                c = level.channels
                if last and i:
                    stack.append(self.double(c))
                path.append(stack)
        return path

    def _attention(self, level: MapLevel) -> list[Attention]:
        return [self.attend(level.channels)] if level.attention else []
