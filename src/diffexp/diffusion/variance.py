"""The variance of the reverse step p(x_s | x_t), between its two bounds

    β̃ = Var(x_s | x_t, x0)  (small)   and   β = Var(x_t | x_s)  (large):

    log var = f log β + (1 − f) log β̃,   f = (frac + 1)/2.

One number, frac in [−1, 1], says it all: −1 is fixed small, 1 fixed large, and a network may learn it.
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from diffexp.diffusion.schedule import Schedule, like


class Variance(Protocol):
    """How the network's output becomes F and frac."""

    outputs: ClassVar[int]  # how many times the image's channels the network must give

    def split(self, out: Tensor) -> tuple[Tensor, Tensor | float]:
        """The network's output (B, outputs·C, H, W) as F and frac."""
        ...


@dataclass(frozen=True)
class FixedSmall:
    """var = β̃: optimal for data that is one point. Ho et al. 2020, "fixedsmall"."""

    outputs: ClassVar[int] = 1

    def split(self, out: Tensor) -> tuple[Tensor, float]:
        return out, -1.0


@dataclass(frozen=True)
class FixedLarge:
    """var = β: optimal for data that is unit noise. Ho et al. 2020, "fixedlarge"."""

    outputs: ClassVar[int] = 1

    def split(self, out: Tensor) -> tuple[Tensor, float]:
        return out, 1.0


@dataclass(frozen=True)
class LearnedRange:
    """The network gives frac in a second set of channels. Nichol & Dhariwal 2021, eq. 15."""

    outputs: ClassVar[int] = 2

    def split(self, out: Tensor) -> tuple[Tensor, Tensor]:
        first, second = out.chunk(2, dim=1)
        return first, second


def log_variance(schedule: Schedule, s: Tensor, t: Tensor, frac: Tensor | float) -> Tensor:
    """log var of the step t → s, float64, or in the dtype of frac where that is a tensor and t is not 0-dim.

    At s = 0, where β̃ = 0, β̃ of the chain's second step stands in; both fixed variances are that one there,
    as in the code of Ho et al. 2020.
    """
    q = schedule.posterior(s, t)
    one = torch.ones((), dtype=torch.float64, device=t.device) / schedule.T
    low = torch.where(s == 0, schedule.posterior(one, 2 * one).var, q.var).log()
    high, f = q.beta.log(), (frac + 1) / 2
    if not isinstance(f, Tensor):
        return torch.where(s == 0, low, f * high + (1 - f) * low)
    return f * like(high, f) + (1 - f) * like(low, f)
