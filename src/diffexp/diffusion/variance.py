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
    """A rule by which the network's output becomes F and frac."""

    outputs: ClassVar[int]  # how many times the image's channels the network must give

    def split(self, out: Tensor, schedule: Schedule, t: Tensor) -> tuple[Tensor, Tensor | float]:
        """The network's output (B, outputs·C, H, W) at time t as F and frac."""
        ...


@dataclass(frozen=True)
class FixedSmall:
    """var = β̃: optimal for data that is one point. Ho et al. 2020, "fixedsmall"."""

    outputs: ClassVar[int] = 1

    def split(self, out: Tensor, schedule: Schedule, t: Tensor) -> tuple[Tensor, float]:
        return out, -1.0


@dataclass(frozen=True)
class FixedLarge:
    """var = β: optimal for data that is unit noise. Ho et al. 2020, "fixedlarge"."""

    outputs: ClassVar[int] = 1

    def split(self, out: Tensor, schedule: Schedule, t: Tensor) -> tuple[Tensor, float]:
        return out, 1.0


@dataclass(frozen=True)
class LearnedRange:
    """The network gives frac in a second set of channels. Nichol & Dhariwal 2021, eq. 15."""

    outputs: ClassVar[int] = 2

    def split(self, out: Tensor, schedule: Schedule, t: Tensor) -> tuple[Tensor, Tensor]:
        first, second = out.chunk(2, dim=1)
        return first, second

    def channels(self, frac: Tensor, schedule: Schedule, t: Tensor) -> Tensor:
        """Return what the network has to give for frac."""
        return frac


@dataclass(frozen=True)
class Learned:
    """The network gives log var itself, without bounds, as its distance from log β in a second set of
    channels (so that a new network begins with fixed large). Ho et al. 2020, table 2, "learned diagonal Σ".

    Of use for the bound. Samplers keep it within the bounds, outside of which the variance of no data is.
    """

    outputs: ClassVar[int] = 2

    def split(self, out: Tensor, schedule: Schedule, t: Tensor) -> tuple[Tensor, Tensor]:
        first, second = out.chunk(2, dim=1)
        return first, 1 + 2 * second / like(self._range(schedule, t), second)

    def channels(self, frac: Tensor, schedule: Schedule, t: Tensor) -> Tensor:
        """Return what the network has to give for frac."""
        return (frac - 1) / 2 * like(self._range(schedule, t), frac)

    def _range(self, schedule: Schedule, t: Tensor) -> Tensor:
        s = t - 1 / schedule.T
        low, high = bounds(schedule, torch.where(s > 1e-9, s, torch.zeros_like(s)), t)
        return high - low


def bounds(schedule: Schedule, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """log β̃ and log β of the step t → s, float64; at s = 0, where β̃ = 0, β̃ of the chain's second step."""
    q = schedule.posterior(s, t)
    one = torch.ones((), dtype=torch.float64, device=t.device) / schedule.T
    return torch.where(s == 0, schedule.posterior(one, 2 * one).var, q.var).log(), q.beta.log()


def log_variance(schedule: Schedule, s: Tensor, t: Tensor, frac: Tensor | float) -> Tensor:
    """log var of the step t → s, float64, or in the dtype of frac where that is a tensor and t is not 0-dim.

    At s = 0 both fixed variances are the lower bound, as in the code of Ho et al. 2020.
    """
    (low, high), f = bounds(schedule, s, t), (frac + 1) / 2
    if not isinstance(f, Tensor):
        return torch.where(s == 0, low, low + f * (high - low))
    # the difference in float64: far outside the bounds, f is large where they are close
    return like(low, f) + f * like(high - low, f)
