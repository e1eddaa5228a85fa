"""The plan of a UNet: which parts stand where.

Down: `blocks` residual blocks per level (levels.py), then half the size; every result, and the input, is kept
as a skip. Up: blocks + 1 per level, one for each skip, then twice the size. Attention follows each block of a
level that has it, and stands in the middle always; so does cross-attention, where the network takes tokens.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from diffexp.errors import ConfigError
from diffexp.networks.blocks import Attention, Context, Downsample, ResidualBlock, Upsample, count_heads
from diffexp.networks.levels import MapLevel
from diffexp.networks.transformer import FeedForward, Positions, SequenceAttention, SpatialTransformer


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
    token_dim: int | None = None
    feed_forward: bool = False
    transformer_depth: int = 0

    def __post_init__(self) -> None:
        if self.blocks < 1:
            raise ConfigError(f"blocks={self.blocks}", "network.blocks", "give a number from 1, e.g. 2")
        if self.transformer_depth < 0:
            what, key = f"transformer_depth={self.transformer_depth}", "network.transformer_depth"
            raise ConfigError(what, key, "give 1 for that of Stable Diffusion, or 0 for plain attention")

    def block(self, c_in: int, c_out: int) -> ResidualBlock:
        return ResidualBlock(c_in, c_out, self.groups, self.dropout, self.scale_shift)

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
                path.append(Stack([self.block(c, level.channels), *self.attend(level)]))
                c = level.channels
                skips.append(c)
        return path, skips

    def middle(self) -> Stack:
        c = self.levels[-1].channels
        return Stack([self.block(c, c), *self.attend(MapLevel(c, True, True)), self.block(c, c)])

    def up(self, skips: list[int]) -> nn.ModuleList:
        """Build the way up, which takes the skips from the last to the first."""
        path, skips, c = nn.ModuleList(), list(skips), self.levels[-1].channels
        for i, level in reversed(list(enumerate(self.levels))):
            for last in [False] * self.blocks + [True]:
                stack = Stack([self.block(c + skips.pop(), level.channels), *self.attend(level)])
                c = level.channels
                if last and i:
                    stack.append(self.double(c))
                path.append(stack)
        return path

    def attend(self, level: MapLevel) -> list[nn.Module]:
        """Return what follows a residual block: self-attention, cross-attention, feed-forward; or nothing."""
        c, cross = level.channels, level.context and self.token_dim is not None
        if not (level.attention or cross):
            return []
        heads = count_heads(c, self.heads, self.head_channels)
        if self.transformer_depth:
            blocks = [
                self._parts(c, heads, level.attention, cross, True) for _ in range(self.transformer_depth)
            ]
            return [SpatialTransformer(c, self.groups, [part for block in blocks for part in block])]
        own: list[nn.Module] = [Attention(c, self.groups, heads)] if level.attention else []
        parts = self._parts(c, heads, False, cross, self.feed_forward)
        return [*own, Positions(parts)] if parts else own

    def _parts(self, c: int, heads: int, own: bool, cross: bool, forward: bool) -> list[nn.Module]:
        parts: list[nn.Module] = [SequenceAttention(c, heads)] if own else []
        parts += [SequenceAttention(c, heads, self.token_dim)] if cross else []
        return [*parts, FeedForward(c)] if forward else parts
