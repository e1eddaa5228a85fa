"""At which noise levels a batch is trained: times float64 (n,) in (0, 1], on the device of the generator."""

import math
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from diffexp.diffusion.schedule import Schedule
from diffexp.errors import ConfigError


class Times(Protocol):
    """on_chain: whether the times are steps i/T of the chain."""

    on_chain: ClassVar[bool]

    def __call__(self, n: int, schedule: Schedule, generator: torch.Generator) -> Tensor: ...


def _normal(n: int, generator: torch.Generator) -> Tensor:
    return torch.randn(n, generator=generator, device=generator.device, dtype=torch.float64)


@dataclass(frozen=True)
class Chain:
    """t uniform over the T steps of the chain. Ho et al. 2020, algorithm 1."""

    on_chain: ClassVar[bool] = True

    def __call__(self, n: int, schedule: Schedule, generator: torch.Generator) -> Tensor:
        i = torch.randint(schedule.T, (n,), generator=generator, device=generator.device)
        return (i + 1).double() / schedule.T


@dataclass(frozen=True)
class Stratified:
    """One step in each of n equal parts of the chain, from one random offset. Kingma et al. 2021 (VDM).

    Each t is uniform over the chain, and their mean varies less from batch to batch.
    """

    on_chain: ClassVar[bool] = True

    def __call__(self, n: int, schedule: Schedule, generator: torch.Generator) -> Tensor:
        start = torch.rand((), generator=generator, device=generator.device, dtype=torch.float64)
        u = (start + torch.arange(n, device=generator.device, dtype=torch.float64) / n) % 1
        return ((u * schedule.T).floor() + 1) / schedule.T


@dataclass(frozen=True)
class LogNormal:
    """log σ/α normal, within what the schedule has. Karras et al. 2022 (P_mean, P_std)."""

    on_chain: ClassVar[bool] = False
    mean: float = -1.2
    std: float = 1.2

    def __post_init__(self) -> None:
        if self.std <= 0:
            raise ConfigError(f"std={self.std}", "times.std", "give a positive number")

    def __call__(self, n: int, schedule: Schedule, generator: torch.Generator) -> Tensor:
        ratio = (self.mean + self.std * _normal(n, generator)).exp()
        highest = float(schedule.angles[-1])
        return schedule.time(ratio.atan().clamp(max=min(highest, math.pi / 2))).clamp(1 / schedule.T, 1)


@dataclass(frozen=True)
class LogitNormal:
    """t the logistic function of a normal number. Esser et al. 2024."""

    on_chain: ClassVar[bool] = False
    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        if self.std <= 0:
            raise ConfigError(f"std={self.std}", "times.std", "give a positive number")

    def __call__(self, n: int, schedule: Schedule, generator: torch.Generator) -> Tensor:
        return torch.sigmoid(self.mean + self.std * _normal(n, generator)).clamp(1 / schedule.T, 1)


class Importance(nn.Module):
    """p(t) ∝ √E[L²] over the last losses at t, mixed with a share of the uniform p; uniform until each step
    of the chain has `history` losses. Nichol & Dhariwal 2021, section 3.3 (their code: 10 losses, 0.001).

    `weight` is 1/(T p), with which the mean loss is that of uniform times. What it has learned are buffers:
    in the checkpoint, and the same on every rank.
    """

    on_chain: ClassVar[bool] = True
    squares: Tensor  # of the last losses, (T, history)
    seen: Tensor  # how many losses each step has had, (T,)

    def __init__(self, schedule: Schedule, history: int = 10, uniform: float = 0.001) -> None:
        super().__init__()
        if history < 1 or not 0 < uniform <= 1:
            what = f"history={history}, uniform={uniform}"
            raise ConfigError(what, "times", "give a history of 1 or more, and a uniform share in (0, 1]")
        self.uniform = uniform
        self.register_buffer("squares", torch.zeros(schedule.T, history, dtype=torch.float64))
        self.register_buffer("seen", torch.zeros(schedule.T, dtype=torch.int64))

    def probabilities(self) -> Tensor:
        """p of each step of the chain, float64 (T,)."""
        T, history = self.squares.shape
        p = self.squares.mean(1).sqrt()
        p = (1 - self.uniform) * p / p.sum() + self.uniform / T
        warm = (self.seen >= history).all() & p.isfinite().all()
        return torch.where(warm, p, torch.full_like(p, 1 / T))

    def __call__(self, n: int, schedule: Schedule, generator: torch.Generator) -> Tensor:
        i = torch.multinomial(self.probabilities(), n, replacement=True, generator=generator)
        return (i + 1).double() / schedule.T

    def weight(self, t: Tensor) -> Tensor:
        """1/(T p(t)), float64 (n,)."""
        T = len(self.seen)
        return 1 / (T * self.probabilities()[self._index(t)])

    @torch.no_grad()
    def learn(self, t: Tensor, loss: Tensor) -> None:
        """The losses (n,) of the images at times t (n,), of all ranks, in an order that all ranks share."""
        history = self.squares.shape[1]
        order = torch.argsort(t, stable=True)
        i, loss = self._index(t)[order], loss[order].double()
        place = torch.arange(len(i), device=i.device)
        same, count = i == i[:, None], torch.zeros_like(self.seen).index_add_(0, i, torch.ones_like(i))
        rank = place - same.double().argmax(1)  # among those of the same step, in a batch
        last = rank >= count[i] - history  # of more than fit, the last
        i, rank, loss = i[last], rank[last], loss[last]
        self.squares[i, (self.seen[i] + rank) % history] = loss**2
        self.seen += count

    def _index(self, t: Tensor) -> Tensor:
        return (t * len(self.seen)).round().long() - 1
