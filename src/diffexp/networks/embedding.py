"""The embedding of time, class and vector that the residual blocks get beside the image.

    gamma(t) = [sin(1000 t w_i), cos(1000 t w_i)],   w_i = 10000^(-i / (n - 1)),   i = 0 .. n - 1
    emb      = silu(W2 silu(W1 gamma(t)) + table[class] + W3 vector + W4 [gamma(size / 1000), ...])
    e_k      = W_k emb, for block k: one matrix for all blocks, cut into pieces

A bfloat16 number near 1000 is a multiple of 4: times would run together, so all of this stays in float32,
whatever autocast says.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffexp.condition import Condition

SIZE_WIDTH = 64  # of gamma(size / 1000), of each number


def sinusoid(t: Tensor, width: int) -> Tensor:
    """Return gamma(t), float32 (B, width), of t (B,) in [0, 1]. Ho et al. 2020, after Vaswani et al. 2017."""
    n = width // 2
    w = torch.exp(torch.arange(n, device=t.device, dtype=torch.float32) * (-math.log(10000) / (n - 1)))
    angle = 1000 * t.float()[:, None] * w
    return torch.cat([angle.sin(), angle.cos()], 1)


class Embedding(nn.Module):
    """The embedding of (t, class, vector) for all blocks, in the dtype of the weights.

    channels: the width of gamma(t), even; width: that of emb; widths: of the e_k;
    num_classes: the rows of the table but one, for the last is the null label; vector_dim: the width of a
    vector, such as a pooled text; sizes: how many numbers of pixels there are (Podell et al. 2023).
    """

    def __init__(
        self,
        channels: int,
        width: int,
        widths: list[int],
        num_classes: int | None = None,
        vector_dim: int | None = None,
        sizes: int | None = None,
    ) -> None:
        super().__init__()
        self.channels, self.widths = channels, widths
        self.time1, self.time2 = nn.Linear(channels, width), nn.Linear(width, width)
        self.label = None if num_classes is None else nn.Embedding(num_classes + 1, width)
        self.vector = None if vector_dim is None else nn.Linear(vector_dim, width)
        self.size = None if sizes is None else nn.Linear(sizes * SIZE_WIDTH, width)
        self.tell = nn.Linear(width, sum(widths))

    def forward(self, t: Tensor, cond: Condition | None) -> Tensor:
        """Return the embedding, (B, sum(widths)). t: (B,) in [0, 1]; cond: its label int64 (B,) in
        0..num_classes, where there are classes, its vector (B, vector_dim), its size (B, sizes), in pixels.
        """
        with torch.autocast(t.device.type, enabled=False):
            emb = self.time2(F.silu(self.time1(sinusoid(t, self.channels).to(self.time1.weight.dtype))))
            if cond is not None and self.label is not None:
                emb = emb + self.label(cond.label)
            if cond is not None and cond.vector is not None and self.vector is not None:
                emb = emb + self.vector(cond.vector.to(self.vector.weight.dtype))
            if cond is not None and cond.size is not None and self.size is not None:
                waves = sinusoid(cond.size.flatten() / 1000, SIZE_WIDTH).view(len(emb), -1)
                emb = emb + self.size(waves.to(self.size.weight.dtype))
            return self.tell(F.silu(emb))
