"""A real network, tiny: a convolution told the time and the class."""

import pytest
import torch
from torch import nn


class Tiny(nn.Module):
    """Three classes, 3 the null label; `outputs` times 3 channels; counts its calls."""

    def __init__(self, outputs=1):
        super().__init__()
        self.conv, self.label = nn.Conv2d(3, 3 * outputs, 3, padding=1), nn.Embedding(4, 3)
        self.calls = 0

    def forward(self, x, t, cond=None):
        self.calls += 1
        told = t[:, None] if cond is None else t[:, None] + self.label(cond.label)
        return self.conv(x + told[:, :, None, None])


@pytest.fixture
def tiny():
    """Makes a Tiny whose weights are always the same, without touching the global generator."""

    def make(outputs=1):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return Tiny(outputs)

    return make
