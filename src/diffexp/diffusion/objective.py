"""The training objective: at which times, towards which target, with which weight.

A weight is a function of the noise level, defined once, on |x̂0 − x0|². The loss is formed in the space of
the network's output, as w c_out² |F − F*|², for |x̂0 − x0|² formed in float32 or bfloat16 is not exact near
t = 1. Unit weight on F is SNR, 1, SNR + 1 for eps, x0, v.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from diffexp.diffusion.denoiser import Denoiser, like
from diffexp.diffusion.prediction import target
from diffexp.diffusion.schedule import Level, Schedule
from diffexp.errors import ConfigError


class Losses(NamedTuple):
    """loss: 0-dim; mse: (B,), |F − F*|² averaged over the image; weighted: (B,); t: (B,)."""

    loss: Tensor
    mse: Tensor
    weighted: Tensor
    t: Tensor


class Weighting(Protocol):
    """The weight of |x̂0 − x0|², float64 of the shape of t; c_out is the prediction's."""

    def __call__(self, level: Level, c_out: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Uniform:
    """Unit weight on whatever the network predicts: L_simple of Ho et al. 2020 for eps."""

    def __call__(self, level: Level, c_out: Tensor) -> Tensor:
        return 1 / c_out**2


@dataclass(frozen=True)
class SNR:
    """The signal-to-noise ratio: unit weight on ε, whatever the network predicts."""

    def __call__(self, level: Level, c_out: Tensor) -> Tensor:
        return level.snr


@dataclass(frozen=True)
class MinSNR:
    """min(SNR, γ). Hang et al. 2023."""

    gamma: float = 5.0

    def __post_init__(self) -> None:
        if self.gamma <= 0:
            raise ConfigError(f"gamma={self.gamma}", "weighting.gamma", "give a positive number, e.g. 5")

    def __call__(self, level: Level, c_out: Tensor) -> Tensor:
        return level.snr.clamp(max=self.gamma)


class Times(Protocol):
    """n training times, float64 (n,) in (0, 1], on the device of the generator."""

    def __call__(self, n: int, schedule: Schedule, generator: torch.Generator) -> Tensor: ...


@dataclass(frozen=True)
class Chain:
    """t uniform over the T steps of the chain. Ho et al. 2020, algorithm 1."""

    def __call__(self, n: int, schedule: Schedule, generator: torch.Generator) -> Tensor:
        i = torch.randint(schedule.T, (n,), generator=generator, device=generator.device)
        return (i + 1).double() / schedule.T


class Objective:
    """Weighted denoising loss at random times."""

    def __init__(self, weighting: Weighting, times: Times) -> None:
        self.weighting, self.times = weighting, times

    def __call__(
        self, denoiser: Denoiser, x0: Tensor, cond: Tensor | None, generator: torch.Generator
    ) -> Losses:
        """x0: (B, C, H, W) in [−1, 1]; times and noise come from `generator`, on the device of x0."""
        t = self.times(len(x0), denoiser.schedule, generator)
        noise = torch.randn(x0.shape, generator=generator, device=x0.device, dtype=x0.dtype)
        return self.at(denoiser, x0, cond, t, noise)

    def at(self, denoiser: Denoiser, x0: Tensor, cond: Tensor | None, t: Tensor, noise: Tensor) -> Losses:
        """The loss at given times t, float64 (B,), and noise, of the shape of x0."""
        t = t.view(-1, *[1] * (x0.ndim - 1))
        level = denoiser.schedule(t)
        c = denoiser.prediction(level)
        a, b = target(c, level)
        x_t = like(level.alpha, x0) * x0 + like(level.sigma, x0) * noise
        out, _ = denoiser.output(x_t, t, cond)
        mse = (out - (like(a, x0) * x0 + like(b, x0) * noise)).square().flatten(1).mean(1)
        c_out = torch.as_tensor(c.c_out, dtype=torch.float64, device=x0.device).expand_as(t)
        weight = (self.weighting(level, c_out) * c_out**2).flatten().to(x0.dtype)
        weighted = weight * mse
        return Losses(weighted.mean(), mse.detach(), weighted.detach(), t.flatten())
