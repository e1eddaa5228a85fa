"""The embedding of the time, and perhaps of the class, that the residual blocks get beside the image.

    gamma(t) = [sin(1000 t w_i), cos(1000 t w_i)],   w_i = 10000^(-i / (n - 1)),   i = 0 .. n - 1
    emb      = silu(W2 silu(W1 gamma(t)) + table[class])
    e_k      = W_k emb, for block k: one matrix for all blocks, cut into pieces

A bfloat16 number near 1000 is a multiple of 4: times would run together, so all of this stays in float32,
whatever autocast says.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffexp.condition import Condition
from diffexp.errors import ConfigError


def sinusoid(t: Tensor, width: int) -> Tensor:
    """Return gamma(t), float32 (B, width), of t (B,) in [0, 1]. Ho et al. 2020, after Vaswani et al. 2017."""
    n = width // 2
    w = torch.exp(torch.arange(n, device=t.device, dtype=torch.float32) * (-math.log(10000) / (n - 1)))
    angle = 1000 * t.float()[:, None] * w
    return torch.cat([angle.sin(), angle.cos()], 1)


class Embedding(nn.Module):
    """The embedding of (t, class) for all blocks, in the dtype of the weights.

    channels: the width of gamma(t), even; width: that of emb; widths: of the e_k;
    num_classes: the rows of the table but one, for the last is the null label.
    """

    def __init__(self, channels: int, width: int, widths: list[int], num_classes: int | None = None) -> None:
        super().__init__()
        self.channels, self.widths, self.num_classes = channels, widths, num_classes
        self.time1, self.time2 = nn.Linear(channels, width), nn.Linear(width, width)
        self.label = None if num_classes is None else nn.Embedding(num_classes + 1, width)
        self.tell = nn.Linear(width, sum(widths))

    def forward(self, t: Tensor, cond: Condition | None) -> Tensor:
        """Return the embedding, (B, sum(widths)). t: (B,) in [0, 1]; cond: its label int64 (B,) in
        0..num_classes; None without classes.

        Raises ConfigError when cond is given to a network without classes, or not given to one with them.
        """
        label = None if cond is None else cond.label
        if (label is None) != (self.label is None):
            raise ConfigError(*self._misfit())
        with torch.autocast(t.device.type, enabled=False):
            emb = self.time2(F.silu(self.time1(sinusoid(t, self.channels).to(self.time1.weight.dtype))))
            if self.label is not None:
                emb = emb + self.label(label)
            return self.tell(F.silu(emb))

    def _misfit(self) -> tuple[str, str, str]:
        if self.num_classes is None:
            return (
                "this network knows no classes, but was given a label",
                "UNet(num_classes=None)",
                "give no label",
            )
        do = f"give labels 0..{self.num_classes - 1}, or {self.num_classes}, the null label"
        return (
            "this network is class-conditional, but was given no label",
            f"UNet(num_classes={self.num_classes})",
            do,
        )
