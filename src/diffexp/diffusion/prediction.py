"""What the network predicts: four coefficients of the noise level,

    x̂0 = c_skip x_t + c_out F(c_in x_t, c_noise),

from which the regression target F* = a x0 + b ε and every loss weight follow. c_noise is what the network is
given as the time.
"""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from diffexp.diffusion.schedule import Level, Schedule
from diffexp.errors import ConfigError

Time = Literal["t", "flow", "log_sigma", "index"]
FARTHEST = 10.0  # of |log σ/α| in c_noise, which would be infinite without signal


class Coefficients(NamedTuple):
    """Those but c_noise. Each a float or float64 of the shape of t."""

    c_in: Tensor | float
    c_skip: Tensor | float
    c_out: Tensor | float


class Parameterization(Protocol):
    """The coefficients at a noise level. c_noise is t, unless the class is a `Timed`."""

    def __call__(self, level: Level) -> Coefficients: ...


@dataclass(frozen=True)
class Timed:
    """The base of the predictions here.

    time: what the network is given as the time. t: the schedule's, in (0, 1]. flow: σ/(α + σ), the time of
    the straight path (Esser et al. 2024: after the shift). log_sigma: log(σ/α)/4 (Karras et al. 2022),
    within ±2.5. index: t − 1/T, the index from 0 of the papers' code, over T.
    """

    time: Time = field(default="t", kw_only=True)


@dataclass(frozen=True)
class Eps(Timed):
    """F = ε, the noise. Ho et al. 2020. Undefined at zero SNR."""

    def __call__(self, level: Level) -> Coefficients:
        return Coefficients(1.0, 1 / level.alpha, -level.sigma / level.alpha)


@dataclass(frozen=True)
class X0(Timed):
    """F = x0, the clean image."""

    def __call__(self, level: Level) -> Coefficients:
        return Coefficients(1.0, 0.0, 1.0)


@dataclass(frozen=True)
class V(Timed):
    """F = α ε − σ x0 = dx/dφ, the velocity. Salimans & Ho 2022."""

    def __call__(self, level: Level) -> Coefficients:
        return Coefficients(1.0, level.alpha, -level.sigma)


@dataclass(frozen=True)
class Flow(Timed):
    """F = ε − x0, the velocity of the straight path; the network sees (1 − u) x0 + u ε, u = σ/(α + σ).

    Lipman et al. 2023, Liu et al. 2023, Albergo & Vanden-Eijnden 2023. With schedule=flow u is t.
    """

    def __call__(self, level: Level) -> Coefficients:
        c = 1 / (level.alpha + level.sigma)
        return Coefficients(c, c, -level.sigma * c)


@dataclass(frozen=True)
class EDM(Timed):
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
class Mean(Timed):
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


def c_noise(prediction: Parameterization, t: Tensor, schedule: Schedule) -> Tensor:
    """Return what the network is given as the time t, of the shape of t."""
    time = _time(prediction)
    if time == "t":
        return t
    if time == "index":
        return t - 1 / schedule.T
    level = schedule(t)
    if time == "flow":
        return level.sigma / (level.alpha + level.sigma)
    return (-level.lam).clamp(-FARTHEST, FARTHEST) / 4


def time_of(prediction: Parameterization, noise: Tensor, schedule: Schedule) -> Tensor:
    """Return the t, float64, whose c_noise that is: 1 for all that lie beyond the farthest."""
    time, noise = _time(prediction), noise.double()
    if time == "t":
        return noise
    if time == "index":
        return noise + 1 / schedule.T
    if time == "flow":
        return schedule.time(torch.atan2(noise, 1 - noise)).clamp(0, 1)
    t = schedule.time((4 * noise).exp().atan()).clamp(0, 1)
    return torch.where(4 * noise < FARTHEST, t, torch.ones_like(t))


def _time(prediction: Parameterization) -> Time:
    return prediction.time if isinstance(prediction, Timed) else "t"
