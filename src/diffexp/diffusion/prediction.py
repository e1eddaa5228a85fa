"""What the network predicts: three coefficients of the noise level,

    x̂0 = c_skip x_t + c_out F(c_in x_t, t),

from which the regression target F* = a x0 + b ε and every loss weight follow.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from diffexp.diffusion.schedule import Level, Schedule
from diffexp.errors import ConfigError


class Coefficients(NamedTuple):
    """Each a float or float64 of the shape of t."""

    c_in: Tensor | float
    c_skip: Tensor | float
    c_out: Tensor | float


class Parameterization(Protocol):
    """The coefficients at a noise level."""

    def __call__(self, level: Level) -> Coefficients: ...


@dataclass(frozen=True)
class Eps:
    """F = ε, the noise. Ho et al. 2020. Undefined at zero SNR."""

    def __call__(self, level: Level) -> Coefficients:
        return Coefficients(1.0, 1 / level.alpha, -level.sigma / level.alpha)


@dataclass(frozen=True)
class X0:
    """F = x0, the clean image."""

    def __call__(self, level: Level) -> Coefficients:
        return Coefficients(1.0, 0.0, 1.0)


@dataclass(frozen=True)
class V:
    """F = α ε − σ x0 = dx/dφ, the velocity. Salimans & Ho 2022."""

    def __call__(self, level: Level) -> Coefficients:
        return Coefficients(1.0, level.alpha, -level.sigma)


@dataclass(frozen=True)
class EDM:
    """Unit variance of input and target for data of standard deviation sigma_data.

    Karras et al. 2022, table 1, written for x_t = α x0 + σ ε instead of x0 + (σ/α) ε.
    """

    sigma_data: float = 0.5

    def __post_init__(self) -> None:
        if not self.sigma_data > 0:
            what = f"sigma_data={self.sigma_data}"
            raise ConfigError(what, "prediction.sigma_data", "give a positive number, e.g. 0.5")

    def __call__(self, level: Level) -> Coefficients:
        signal = level.alpha * self.sigma_data
        var = signal**2 + level.sigma**2
        return Coefficients(
            c_in=var.rsqrt(),
            c_skip=signal * self.sigma_data / var,
            c_out=level.sigma * self.sigma_data * var.rsqrt(),
        )


@dataclass(frozen=True)
class Mean:
    """F = μ̃ = c_x x_t + c_0 x0, the mean of q(x_s | x_t, x0) over a step of the chain. Ho et al. 2020.

    Its error is c_0 times that of x0, and c_0 is small: x̂0 is worth little where there is much noise.
    """

    schedule: Schedule

    def __call__(self, level: Level) -> Coefficients:
        q = self.schedule.posterior(*self.schedule.step_to(level))
        return Coefficients(1.0, -q.c_x / q.c_0, 1 / q.c_0)


def target(c: Coefficients, level: Level) -> tuple[Tensor, Tensor]:
    """(a, b) of the target F* = a x0 + b ε: what makes x̂0 = x0. Float64, 0-dim or of the shape of t."""
    a, b = (1 - c.c_skip * level.alpha) / c.c_out, -c.c_skip * level.sigma / c.c_out
    return torch.as_tensor(a, dtype=torch.float64), torch.as_tensor(b, dtype=torch.float64)
