"""At which noise levels a batch is trained: times float64 (n,) in (0, 1], on the device of the generator."""

import math
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

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
