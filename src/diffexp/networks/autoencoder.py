"""The autoencoder of latent diffusion (Rombach et al. 2022): images to latents of fewer pixels, and back.

    q(z|x) = N(mean, exp(logvar)),   mean, logvar = 1x1(encoder(x)),   x̂ = decoder(1x1(z))
    encoder  conv, levels of blocks, each but the last halved; a middle; norm, silu, conv
    decoder  conv, a middle, levels of blocks + 1, each but the last doubled; norm, silu, conv
    block    x + conv(drop(silu(norm(conv(silu(norm(x)))))))

With channels=128, channel_mult=(1, 2, 4, 4), blocks=2, attention and groups=32 it is the network of Stable
Diffusion's autoencoder: 83,653,863 parameters for three channels and four of latents.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffexp.errors import ConfigError
from diffexp.networks.blocks import Attention, Context, Norm, conv3x3, resample

Shape = tuple[int, int, int]
LOGVAR = (-30.0, 20.0)  # what a log variance is clamped to
_ALONE = Context(())  # attention is given no tokens and no time


class Options(NamedTuple):
    """The numbers that both halves are made with."""

    channels: int
    channel_mult: tuple[int, ...]
    blocks: int
    attention: bool
    groups: int
    dropout: float

    @property
    def widths(self) -> list[int]:
        """The channels of each level, the largest maps first."""
        return [self.channels * m for m in self.channel_mult]


class Block(nn.Module):
    """The residual block above: (B, c_in, H, W) -> (B, c_out, H, W)."""

    def __init__(self, c_in: int, c_out: int, options: Options) -> None:
        super().__init__()
        self.dropout = options.dropout
        self.norm1, self.conv1 = Norm(options.groups, c_in, 1e-6), conv3x3(c_in, c_out)
        self.norm2, self.conv2 = Norm(options.groups, c_out, 1e-6), conv3x3(c_out, c_out)
        self.skip = nn.Identity() if c_in == c_out else nn.Conv2d(c_in, c_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.dropout(F.silu(self.norm2(h)), self.dropout, self.training))
        return h + self.skip(x)


class Halve(nn.Module):
    """Half the size by a 3x3 convolution of stride 2, padded on the right and below alone, as LDM does."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Double(nn.Module):
    """Twice the size by repeating, then a 3x3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = conv3x3(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(resample(x, "up"))


class Middle(nn.Module):
    """Two blocks on the smallest maps, with attention between them where asked for."""

    def __init__(self, options: Options) -> None:
        super().__init__()
        width = options.widths[-1]
        self.before, self.after = Block(width, width, options), Block(width, width, options)
        self.attention = Attention(width, options.groups) if options.attention else None

    def forward(self, x: Tensor) -> Tensor:
        h = self.before(x)
        return self.after(h if self.attention is None else self.attention(h, _ALONE))


def _path(
    sizes: Sequence[int], first: int, blocks: int, step: type[nn.Module], options: Options
) -> nn.Module:
    """Return levels of blocks, with `step` between two of them."""
    parts, width = list[nn.Module](), first
    for i, size in enumerate(sizes):
        for _ in range(blocks):
            parts.append(Block(width, size, options))
            width = size
        if i + 1 < len(sizes):
            parts.append(step(size))
    return nn.Sequential(*parts)


class Encoder(nn.Module):
    """(B, in_channels, H, W) -> (B, out_channels, H / f, W / f)."""

    def __init__(self, in_channels: int, out_channels: int, options: Options) -> None:
        super().__init__()
        self.conv_in = conv3x3(in_channels, options.channels)
        self.down = _path(options.widths, options.channels, options.blocks, Halve, options)
        self.middle = Middle(options)
        self.norm = Norm(options.groups, options.widths[-1], 1e-6)
        self.conv_out = conv3x3(options.widths[-1], out_channels)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv_in(x).contiguous(memory_format=torch.channels_last)
        return self.conv_out(F.silu(self.norm(self.middle(self.down(h)))))


class Decoder(nn.Module):
    """(B, in_channels, h, w) -> (B, out_channels, f h, f w)."""

    def __init__(self, in_channels: int, out_channels: int, options: Options) -> None:
        super().__init__()
        widths = options.widths[::-1]
        self.conv_in = conv3x3(in_channels, widths[0])
        self.middle = Middle(options)
        self.up = _path(widths, widths[0], options.blocks + 1, Double, options)
        self.norm = Norm(options.groups, widths[-1], 1e-6)
        self.conv_out = conv3x3(widths[-1], out_channels)

    def forward(self, z: Tensor) -> Tensor:
        h = self.conv_in(z).contiguous(memory_format=torch.channels_last)
        return self.conv_out(F.silu(self.norm(self.up(self.middle(h)))))


class Autoencoder(nn.Module):
    """The network above. latent_channels: of z; channels, channel_mult: the channels of each level; blocks:
    of a level; attention: one of a single head in each middle; groups: of every normalisation.

    Raises ConfigError for numbers that make no network.
    """

    def __init__(
        self,
        in_channels: int,
        latent_channels: int = 4,
        channels: int = 32,
        channel_mult: Sequence[int] = (1, 2, 2),
        blocks: int = 1,
        attention: bool = False,
        groups: int = 8,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        _check(latent_channels, channels, channel_mult, blocks, groups, dropout)
        options = Options(channels, tuple(channel_mult), blocks, attention, groups, dropout)
        self.in_channels, self.latent_channels = in_channels, latent_channels
        self.factor = 2 ** (len(channel_mult) - 1)
        self.encoder = Encoder(in_channels, 2 * latent_channels, options)
        self.to_moments = nn.Conv2d(2 * latent_channels, 2 * latent_channels, 1)
        self.from_latent = nn.Conv2d(latent_channels, latent_channels, 1)
        self.decoder = Decoder(latent_channels, in_channels, options)
        self.to(memory_format=torch.channels_last)

    @property
    def last_layer(self) -> nn.Parameter:
        """The weight of the decoder's last convolution, at which the adaptive weight is measured."""
        return self.get_parameter("decoder.conv_out.weight")

    def latent(self, shape: Shape) -> Shape:
        """Return the shape of z, (L, h, w), of images (C, H, W). Raises ConfigError for those that it cannot
        take.
        """
        channels, height, width = shape
        if channels != self.in_channels:
            what = f"images of {channels} channels, and an autoencoder of {self.in_channels}"
            raise ConfigError(what, "autoencoder.network", "take an autoencoder of such images")
        if height % self.factor or width % self.factor:
            what = f"images of {height}x{width} cannot be made {self.factor} times smaller"
            do = "give a shorter network.channel_mult, or images of other sides (data.size)"
            raise ConfigError(what, "autoencoder.network.channel_mult", do)
        return self.latent_channels, height // self.factor, width // self.factor

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of z, each (B, L, h, w), of float32 images (B, C, H, W) in [−1, 1]."""
        mean, logvar = self.to_moments(self.encoder(x)).chunk(2, 1)
        return mean, logvar.clamp(*LOGVAR)

    def decode(self, z: Tensor) -> Tensor:
        """Return images (B, C, H, W), near [−1, 1], of latents (B, L, h, w)."""
        return self.decoder(self.from_latent(z))

    def forward(self, x: Tensor) -> Tensor:
        """Return the images of their mean latents."""
        return self.decode(self.moments(x)[0])


def _check(
    latent_channels: int, channels: int, mult: Sequence[int], blocks: int, groups: int, dropout: float
) -> None:
    where = "autoencoder.network"
    if min(latent_channels, channels, blocks) < 1 or not mult or min(mult) < 1:
        what = f"latent_channels={latent_channels}, channels={channels}, channel_mult={list(mult)}, "
        raise ConfigError(f"{what}blocks={blocks} make no network", where, "give numbers from 1")
    if groups < 1 or any(channels * m % groups for m in mult):
        what = f"{channels} channels, times {list(mult)}, cannot be normalised in {groups} groups"
        raise ConfigError(what, f"{where}.groups", f"give a divisor of {channels}")
    if not 0 <= dropout < 1:
        raise ConfigError(f"dropout={dropout}", f"{where}.dropout", "give a share in [0, 1), e.g. 0.1")
