"""The classifier of classifier guidance: the UNet's path down, on noisy images. Dhariwal & Nichol 2021.

task=classifier (tasks/classifier.py) trains one; metrics/classifier.py is another, of clean images.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffexp.networks.blocks import Context, Norm, ResidualBlock, conv3x3
from diffexp.networks.embedding import Embedding
from diffexp.networks.levels import plan
from diffexp.networks.paths import Paths


class NoisyClassifier(nn.Module):
    """(x_t, t) -> logits, (B, num_classes), averaged over the last map. Options as of UNet."""

    def __init__(
        self,
        image_size: int | tuple[int, int],
        in_channels: int,
        num_classes: int,
        channels: int = 32,
        channel_mult: tuple[int, ...] = (1, 2),
        blocks: int = 1,
        attention: tuple[int | str, ...] = (4,),
        dropout: float = 0.1,
        groups: int = 8,
    ) -> None:
        super().__init__()
        levels = plan(image_size, channels, channel_mult, attention)
        paths = Paths(levels, blocks, groups, 1, None, dropout, False, False)
        self.conv_in = conv3x3(in_channels, channels)
        self.down, _ = paths.down(channels)
        self.middle = paths.middle()
        self.norm = Norm(groups, levels[-1].channels)
        self.logits = nn.Linear(levels[-1].channels, num_classes)
        parts = [part for part in self.modules() if isinstance(part, ResidualBlock)]
        for i, part in enumerate(parts):
            part.index = i
        self.embedding = Embedding(channels, 4 * channels, [part.embedding_width for part in parts])
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Return the logits. x: (B, in_channels, H, W); t: float32 (B,) in [0, 1]."""
        h = self.conv_in(x).contiguous(memory_format=torch.channels_last)
        context = Context(self.embedding(t, None).to(h.dtype).split(self.embedding.widths, 1))
        for part in self.down:
            h = part(h, context)
        h = self.middle(h, context)
        return self.logits(F.silu(self.norm(h)).mean((2, 3)))
