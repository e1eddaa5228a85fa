"""Averaged weights: ā ← d ā + (1 − d) w after every step of the optimizer.

The averages are models of their own beside the one that is trained: nothing is ever swapped, so nothing can
be stored swapped. They share what is not trained (model/trainable.py).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from diffexp.errors import ConfigError
from diffexp.model.trainable import Choice, shared_copy
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
        """Return the decay of the n-th update, n from 1."""
        return min(d, (1 + n) / (10 + n)) if self.warmup else d


class Averages(nn.Module):
    """The models that follow `model`, one for each decay, without gradients, always in eval mode. copy: makes
    one of them.
    """

    def __init__(
        self,
        model: nn.Module,
        settings: EMA,
        tune: Choice,
        copy: Callable[[Any], nn.Module] = shared_copy,
    ) -> None:
        super().__init__()
        self.settings = settings
        self.models = nn.ModuleList(copy(model) for _ in settings.decays)
        # a parameter stays the same object wherever the module is moved
        trained = {id(p) for p in tune.parameters(model)}
        names = [name for name, p in model.named_parameters() if id(p) in trained]
        self._now: list[Tensor] = [model.get_parameter(name) for name in names]
        self._averaged: list[list[Tensor]] = [[m.get_parameter(n) for n in names] for m in self._models()]
        stored = tune.state(model)
        self._copied = [name for name, _ in model.named_buffers() if name in stored]
        for i, average in enumerate(self._models()):
            average.weights = settings.name(i)
            for p in self._averaged[i]:
                p.requires_grad_(False)
        self.train(False)

    def _models(self) -> list[Any]:
        return cast(list[Any], list(self.models))

    def train(self, mode: bool = True) -> "Averages":
        return super().train(False)

    @torch.no_grad()
    def update(self, model: nn.Module, n: int) -> None:
        """Follow the model after the n-th step of the optimizer, n from 1. Buffers are copied."""
        for d, average, weights in zip(self.settings.decays, self._models(), self._averaged, strict=True):
            rate = 1 - self.settings.decay(d, n)
            torch._foreach_lerp_(weights, self._now, rate)  # pyright: ignore[reportPrivateImportUsage]
            for name in self._copied:
                average.get_buffer(name).copy_(model.get_buffer(name))
