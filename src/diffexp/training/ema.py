"""Averaged weights: ā ← d ā + (1 − d) w after every step of the optimizer.

The averages are networks of their own beside the one that is trained: nothing is ever swapped, so nothing can
be stored swapped.
"""

from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from diffexp.errors import ConfigError
from diffexp.model.weights import name_of


@dataclass(frozen=True)
class EMA:
    """decays: one average for each; the first is the one that is measured; () for none.

    warmup: after n steps the decay is at most (1 + n)/(10 + n), so that the start is forgotten.
    """

    decays: tuple[float, ...] = (0.999,)
    warmup: bool = True

    def __post_init__(self) -> None:
        if not all(0 <= d < 1 for d in self.decays):
            raise ConfigError(
                f"decays={list(self.decays)}", "ema.decays", "give numbers in [0, 1), e.g. [0.999]"
            )

    def name(self, which: int | None) -> str:
        """Return what the weights of an average are called, or for None those that are trained."""
        return name_of(self.decays, which)

    def decay(self, d: float, n: int) -> float:
        """The decay of the n-th update, n from 1."""
        return min(d, (1 + n) / (10 + n)) if self.warmup else d


class Averages(nn.Module):
    """The networks that follow `network`, one for each decay, without gradients, always in eval mode."""

    def __init__(self, network: nn.Module, settings: EMA) -> None:
        super().__init__()
        self.settings = settings
        self.networks = nn.ModuleList(deepcopy(network) for _ in settings.decays).requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> "Averages":
        return super().train(False)

    @torch.no_grad()
    def update(self, network: nn.Module, n: int) -> None:
        """After the n-th step of the optimizer, n from 1. Buffers are copied."""
        for d, average in zip(self.settings.decays, self.networks, strict=True):
            weights: list[Tensor] = list(average.parameters())
            rate = 1 - self.settings.decay(d, n)
            torch._foreach_lerp_(weights, list(network.parameters()), rate)  # pyright: ignore[reportPrivateImportUsage]
            for to, of in zip(average.buffers(), network.buffers(), strict=True):
                to.copy_(of)
