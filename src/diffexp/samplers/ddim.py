"""DDIM: from x_t to x_s with any share of fresh noise. Song et al. 2021, eq. 12 and 16:

    x_s = α_s x̂0 + √(σ_s² − std²) ε̂ + std z,    std = η √β̃.

η = 0 is the probability-flow ODE (Euler's method in σ/α), η = 1 is DDPM with the small variance.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from diffexp.diffusion.denoiser import Denoise, Prediction
from diffexp.diffusion.schedule import Schedule
from diffexp.errors import ConfigError
from diffexp.samplers.sampler import Noise, Sampler


@dataclass(frozen=True, kw_only=True)
class DDIM(Sampler):
    """One network call a step.

    eta: 0 or more, or hat for the row σ̂ of the paper's table 1: the direction of η = 1, and noise of the
    larger variance β. Raises ConfigError for a negative eta.
    """

    eta: float | Literal["hat"] = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.eta != "hat" and self.eta < 0:
            raise ConfigError(f"eta={self.eta} is negative", "sampler.eta", "give 0 or more, or hat")

    def stds(self, schedule: Schedule, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """The std that the direction leaves room for, and that of the noise; float64."""
        q = schedule.posterior(s, t)
        if self.eta == "hat":
            # the last step is left without noise: it would stay in the image
            return q.var.sqrt(), torch.where(s > 0, q.beta, 0).sqrt()
        std = self.eta * q.var.sqrt()
        return std, std

    def run(
        self, denoise: Denoise, schedule: Schedule, noise: Noise, cond: Tensor | None = None
    ) -> Iterator[tuple[Tensor, Prediction]]:
        x = noise(0)
        for k, t, s in self.pairs(schedule):
            p, to = denoise(x, t, cond), schedule(s)
            room, std = self.stds(schedule, s, t)
            x = to.alpha * p.x0 + (to.sigma**2 - room**2).clamp(min=0).sqrt() * p.eps
            if std > 0:
                x = x + std * noise(k)
            yield x, p
