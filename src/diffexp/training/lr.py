"""The learning rate as a function of the step, so that a resumed run has that of the unbroken one."""

import math
from dataclasses import dataclass
from typing import Literal

from diffexp.errors import ConfigError


@dataclass(frozen=True)
class LearningRate:
    """The factor of the optimizer's lr: it rises linearly for `warmup` steps; then it stays, or falls as half
    a cosine to `end` at step `steps`, or where a budget is used up before (budget.py).
    """

    steps: int
    warmup: int = 0
    shape: Literal["constant", "cosine"] = "constant"
    end: float = 0.0

    def __post_init__(self) -> None:
        if self.warmup < 0:
            raise ConfigError(f"warmup={self.warmup}", "lr.warmup", "give 0 or more steps")
        if not 0 <= self.end <= 1:
            raise ConfigError(f"end={self.end}", "lr.end", "give a factor in [0, 1]")

    def __call__(self, step: int, used: float = 0.0) -> float:
        """Return the factor at `step`, from 0, with that share of a budget used."""
        rise = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        if self.shape == "constant":
            return rise
        share = min(1.0, max(used, max(0, step - self.warmup) / max(1, self.steps - self.warmup)))
        return rise * (self.end + (1 - self.end) * (1 + math.cos(math.pi * share)) / 2)
