"""The UNet of denoising diffusion: a path down, a path up, and skips between them (paths.py, blocks.py).

    h_0 = conv(x),  h_i = down_i(h_{i-1}, emb),  g = middle(h_n),  g <- up_j([g, h_{n-j}], emb)
    F(x, t, cond) = conv(silu(norm(g))),  emb = embedding(t, cond)

One implementation: its options make the network of DDPM (Ho et al. 2020), of iDDPM (Nichol & Dhariwal 2021:
scale_shift, 4 heads, attention at 16 and 8), of ADM (Dhariwal & Nichol 2021: head_channels=64, updown) and of
Stable Diffusion (Rombach et al. 2022: transformer_depth=1; transformer.py has what looks at tokens).
Weights start as in DDPM: Xavier-uniform (fan average), biases 0, and 0 for the last convolution of each
residual block, of attention and of the network; the table of classes from N(0, 1), as in ADM.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as recompute  # pyright: ignore[reportUnknownVariableType]

from diffexp.condition import Condition
from diffexp.networks.blocks import Attention, Context, Norm, ResidualBlock, conv3x3
from diffexp.networks.embedding import Embedding
from diffexp.networks.fit import check_fit
from diffexp.networks.levels import plan, sides
from diffexp.networks.paths import Paths
from diffexp.networks.transformer import Positions, SpatialTransformer

MASKED = -1e4  # added to the score of a token that does not count: its softmax is 0, in half precision too


class UNet(nn.Module):
    """F(x, t, cond) as above; the network of Ho et al. 2020, appendix B, by default.

    image_size: one number, or (H, W), of which the weights know nothing; attention: the maps that get it,
    beside the middle, by their factors, ("1/2", "1/4"), or of square images by their sizes, (16, 8); heads:
    their number, unless head_channels gives the channels of each; groups: of every group normalisation;
    checkpoint: recompute the blocks in the backward pass, for less memory. Weights and maps are stored
    channels_last (blocks.py). Raises ConfigError for sizes that do not fit together.

    token_dim: the width of the tokens that cross-attention looks at, None for none; context: the maps that
    have it, beside the middle, named as those of attention, None for the same; token_norm: the tokens are
    normalised first; feed_forward: one follows attention; transformer_depth: the blocks of the spatial
    transformer that stands in place of attention, 0 for plain attention; vector_dim: the width of a vector
    that is added to the embedding of the time, None for none; sizes: how many
    numbers of pixels are, likewise.
    """

    def __init__(
        self,
        image_size: int | tuple[int, int],
        in_channels: int,
        out_channels: int,
        num_classes: int | None = None,
        channels: int = 128,
        channel_mult: tuple[int, ...] = (1, 2, 2, 2),
        blocks: int = 2,
        attention: tuple[int | str, ...] = (16,),
        heads: int = 1,
        head_channels: int | None = None,
        dropout: float = 0.0,
        scale_shift: bool = False,
        updown: bool = False,
        groups: int = 32,
        checkpoint: bool = False,
        context: tuple[int | str, ...] | None = None,
        token_norm: bool = False,
        feed_forward: bool = False,
        transformer_depth: int = 0,
        token_dim: int | None = None,
        vector_dim: int | None = None,
        sizes: int | None = None,
    ) -> None:
        super().__init__()
        self.image_size, self.checkpoint, self.sizes = image_size, checkpoint, sizes
        self.num_classes, self.token_dim, self.vector_dim = num_classes, token_dim, vector_dim
        levels = plan(image_size, channels, channel_mult, attention, context)
        self.maps = [_map(image_size, i) for i in range(len(levels))]  # for people
        paths = Paths(
            levels, blocks, groups, heads, head_channels, dropout, scale_shift, updown,
            token_dim, feed_forward, transformer_depth,
        )  # fmt: skip
        self.conv_in = conv3x3(in_channels, channels)
        self.down, skips = paths.down(channels)
        self.middle, self.up = paths.middle(), paths.up(skips)
        self.norm = Norm(groups, levels[0].channels)
        self.conv_out = conv3x3(levels[0].channels, out_channels)
        told = self._number_blocks(), num_classes, vector_dim, sizes
        self.embedding = Embedding(channels, 4 * channels, *told)
        self.token_norm = nn.LayerNorm(token_dim) if token_norm and token_dim is not None else None
        self.apply(_initialise)
        nn.init.zeros_(self.conv_out.weight)
        self.to(memory_format=torch.channels_last)

    @property
    def side_multiple(self) -> int:
        """The number of which the sides of an image have to be multiples."""
        return 1 << (len(self.maps) - 1)

    def forward(self, x: Tensor, t: Tensor, cond: Condition | None = None) -> Tensor:
        """Return F, (B, out_channels, H, W), in the dtype of autocast where that is on.

        x: (B, in_channels, H, W), of image_size; t: float32 (B,), times in [0, 1]; cond: what the network was
        built for, and nothing else: label, int64 (B,) in 0..num_classes, where num_classes is the null label;
        tokens, (B, L, token_dim), perhaps with a mask, which hides what it has no True for; vector, (B,
        vector_dim); size, (B, sizes). Raises ConfigError when cond does not fit.
        """
        check_fit(cond, self.num_classes, self.vector_dim, self.token_dim, self.sizes)
        # after conv_in, not before: with one channel, x has no layout that could be kept
        h = self.conv_in(x).contiguous(memory_format=torch.channels_last)
        embeddings = self.embedding(t, cond).to(h.dtype).split(self.embedding.widths, 1)
        context = Context(embeddings, *self._tokens(cond))
        skips = [h]
        for part in self.down:
            h = self._run(part, h, context)
            skips.append(h)
        h = self._run(self.middle, h, context)
        for part in self.up:
            h = self._run(part, torch.cat([h, skips.pop()], 1), context)
        return self.conv_out(F.silu(self.norm(h)))

    def _tokens(self, cond: Condition | None) -> tuple[Tensor | None, Tensor | None]:
        if cond is None or cond.tokens is None:
            return None, None
        tokens = cond.tokens.to(self.conv_in.weight.dtype)  # those of a cache may be of half precision
        tokens = tokens if self.token_norm is None else self.token_norm(tokens)
        if cond.mask is None:
            return tokens, None
        # hidden twice, so that a row of which nothing counts is 0, and padding may be anything
        hidden = ~cond.mask
        mask = torch.zeros_like(hidden, dtype=tokens.dtype).masked_fill(hidden, MASKED)
        return tokens.masked_fill(hidden[..., None], 0), mask[:, None, None]

    def _number_blocks(self) -> list[int]:
        parts = [part for part in self.modules() if isinstance(part, ResidualBlock)]
        for i, part in enumerate(parts):
            part.index = i
        return [part.embedding_width for part in parts]

    def _run(self, part: nn.Module, h: Tensor, context: Context) -> Tensor:
        if self.checkpoint and torch.is_grad_enabled():
            return recompute(part, h, context, use_reentrant=False)
        return part(h, context)


def _map(image_size: int | tuple[int, int], level: int) -> str:
    height, width = sides(image_size)
    return f"{height >> level}x{width >> level}"


def _initialise(part: nn.Module) -> None:
    if isinstance(part, nn.Conv2d | nn.Linear):
        nn.init.xavier_uniform_(part.weight)
        if part.bias is not None:
            nn.init.zeros_(part.bias)
    # `apply` visits the parts of a part before itself
    if isinstance(part, ResidualBlock):
        nn.init.zeros_(part.conv2.weight)
    if isinstance(part, Attention):
        nn.init.zeros_(part.proj.weight)
    if isinstance(part, Positions):
        for layer in part:
            nn.init.zeros_(layer.get_parameter("proj.weight"))
    if isinstance(part, SpatialTransformer):
        nn.init.zeros_(part.out.weight)
    if isinstance(part, Embedding):
        for piece in torch.split(part.tell.weight.detach(), part.widths):  # each block's own fan
            nn.init.xavier_uniform_(piece)
