"""Weights of the loss by noise level, each defined once, on |x̂0 − x0|², and so right for every prediction.

A paper that weighs |ε̂ − ε|² by w weighs |x̂0 − x0|² by SNR w, for the one error is σ/α times the other.
"""

import math
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from diffexp.diffusion.schedule import Level, Schedule
from diffexp.diffusion.variance import log_variance
from diffexp.errors import ConfigError


class Weighting(Protocol):
    """The weight of |x̂0 − x0|², float64 of the shape of t; c_out is the prediction's."""

    def __call__(self, level: Level, c_out: Tensor) -> Tensor: ...


def _positive(value: float, key: str) -> None:
    if value <= 0:
        raise ConfigError(f"{key}={value}", f"weighting.{key}", "give a positive number")


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
class TruncatedSNR:
    """max(SNR, 1). Salimans & Ho 2022."""

    def __call__(self, level: Level, c_out: Tensor) -> Tensor:
        return level.snr.clamp(min=1)


@dataclass(frozen=True)
class MinSNR:
    """min(SNR, γ). Hang et al. 2023."""

    gamma: float = 5.0

    def __post_init__(self) -> None:
        _positive(self.gamma, "gamma")

    def __call__(self, level: Level, c_out: Tensor) -> Tensor:
        return level.snr.clamp(max=self.gamma)


@dataclass(frozen=True)
class SoftMinSNR:
    """1/(1/SNR + 1/γ), a minimum without a corner. Crowson et al. 2024 (k-diffusion: γ = 1/σ_data²)."""

    gamma: float = 4.0

    def __post_init__(self) -> None:
        _positive(self.gamma, "gamma")

    def __call__(self, level: Level, c_out: Tensor) -> Tensor:
        return self.gamma * level.snr / (level.snr + self.gamma)


@dataclass(frozen=True)
class P2:
    """SNR/(k + SNR)^γ. Choi et al. 2022."""

    k: float = 1.0
    gamma: float = 1.0

    def __post_init__(self) -> None:
        _positive(self.k, "k")

    def __call__(self, level: Level, c_out: Tensor) -> Tensor:
        return level.snr / (self.k + level.snr) ** self.gamma


@dataclass(frozen=True)
class Debiased:
    """√SNR, that is, 1/√SNR on ε. Yu et al. 2024."""

    def __call__(self, level: Level, c_out: Tensor) -> Tensor:
        return level.snr.sqrt()


@dataclass(frozen=True)
class EDMWeight:
    """SNR + 1/σ_data²: unit weight on the output of prediction=edm. Karras et al. 2022."""

    sigma_data: float = 0.5

    def __post_init__(self) -> None:
        _positive(self.sigma_data, "sigma_data")

    def __call__(self, level: Level, c_out: Tensor) -> Tensor:
        return level.snr + 1 / self.sigma_data**2


@dataclass(frozen=True)
class VLB:
    """c_0²/(2 var): the divergence of a step of the chain, in nats, for a fixed variance. Ho et al. 2020, eq.
    8.

    On ε it is β²/(2 var α_t² (1 − ᾱ)/ᾱ_s), the weight that L_simple leaves out.
    """

    schedule: Schedule
    variance: Literal["small", "large"] = "small"

    def __call__(self, level: Level, c_out: Tensor) -> Tensor:
        s, t = self.schedule.step_to(level)
        var = torch.as_tensor(
            log_variance(self.schedule, s, t, -1.0 if self.variance == "small" else 1.0)
        ).exp()
        return self.schedule.posterior(s, t).c_0 ** 2 / (2 * var)


@dataclass(frozen=True)
class Sigmoid:
    """SNR / (1 + e^(log SNR − b)). Kingma & Gao 2023; Hoogeboom et al. 2025 (SiD2)."""

    bias: float = 0.0

    def __call__(self, level: Level, c_out: Tensor) -> Tensor:
        return level.snr * torch.sigmoid(self.bias - 2 * level.lam)


class Uncertain(nn.Module):
    """Any weighting divided by e^u(level), and u added to the loss: u is trained with the network, and
    becomes the logarithm of the weighted error, so that each level counts the same. Karras et al. 2024
    (EDM2), eq. 15.

    u is linear in `features` random Fourier features of log(σ/α)/4, and 0 at first.
    """

    frequency: Tensor
    phase: Tensor

    def __init__(self, base: Weighting, features: int = 128) -> None:
        super().__init__()
        if features < 1:
            raise ConfigError(
                f"features={features}", "weighting.features", "give a positive number, e.g. 128"
            )
        self.base, self.linear = base, nn.Linear(features, 1, bias=False)
        draw = torch.Generator().manual_seed(0)  # the same for every run
        self.register_buffer("frequency", 2 * math.pi * torch.randn(features, generator=draw))
        self.register_buffer("phase", 2 * math.pi * torch.rand(features, generator=draw))
        nn.init.zeros_(self.linear.weight)

    def penalty(self, level: Level) -> Tensor:
        """u, float32 (B,)."""
        # without signal the features are those of σ/α = e^10
        noise = (-level.lam).clamp(-10, 10).flatten()[:, None].float() / 4
        waves = torch.cos(noise * self.frequency + self.phase) * math.sqrt(2 / len(self.phase))
        return self.linear(waves)[:, 0]

    def __call__(self, level: Level, c_out: Tensor) -> Tensor:
        return self.base(level, c_out)
