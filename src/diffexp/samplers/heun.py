"""Heun's method for dx̄/dσ̄ = ε, x̄ = x/α, σ̄ = σ/α, with fresh noise before each step if wanted.

Karras et al. 2022, algorithms 1 and 2.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from diffexp.diffusion.denoiser import Denoise, Prediction
from diffexp.diffusion.schedule import Schedule
from diffexp.errors import ConfigError
from diffexp.samplers.grid import Spacing
from diffexp.samplers.sampler import Noise, Sampler
from diffexp.samplers.transfer import by_eps, by_prediction, has_signal


@dataclass(frozen=True, kw_only=True)
class Heun(Sampler):
    """Second order, two network calls a step but the last: 2 steps − 1 in all.

    s_churn: how much noise is added in all, while σ/α is in [s_tmin, s_tmax], s_noise times as strong as it
    should be. Steps from above σ/α = 80 (nearly zero terminal SNR) are those of DDIM.
    """

    spacing: Spacing = "karras"
    s_churn: float = 0.0
    s_tmin: float = 0.0
    s_tmax: float = float("inf")
    s_noise: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.s_churn, self.s_tmin, self.s_noise) < 0 or self.s_tmax < self.s_tmin:
            what = (
                f"s_churn={self.s_churn}, s_tmin={self.s_tmin}, s_tmax={self.s_tmax}, s_noise={self.s_noise}"
            )
            raise ConfigError(what, "sampler", "give 0 or more, and s_tmin below s_tmax")

    def calls(self, schedule: Schedule) -> Tensor:
        return torch.cat([t for _, t, s in self._calls(schedule)])

    def _calls(self, schedule: Schedule) -> Iterator[tuple[int, Tensor, Tensor]]:
        for k, t, s in self.pairs(schedule):
            first = self._raised(schedule, t).view(1)
            two = float(s) > 0 and has_signal(schedule(t))
            yield k, torch.cat([first, s.view(1)]) if two else first, s

    def _raised(self, schedule: Schedule, t: Tensor) -> Tensor:
        """The time to which noise is added; no farther than the schedule goes."""
        ratio = schedule(t).ratio
        if not self.s_churn or not has_signal(schedule(t)) or not self.s_tmin <= float(ratio) <= self.s_tmax:
            return t
        gamma = min(self.s_churn / self.steps, math.sqrt(2) - 1)
        return schedule.time((ratio * (1 + gamma)).atan().clamp(max=float(schedule.angles[-1])))

    def run(
        self, denoise: Denoise, schedule: Schedule, noise: Noise, cond: Tensor | None = None
    ) -> Iterator[tuple[Tensor, Prediction]]:
        x = noise(0)
        for k, t, s in self.pairs(schedule):
            up = self._raised(schedule, t)
            if up > t:
                old, new = schedule(t), schedule(up)
                added = new.alpha * (new.ratio**2 - old.ratio**2).sqrt() * self.s_noise
                x = new.alpha / old.alpha * x + added * noise(k)
            p, at, to = denoise(x, up, cond), schedule(up), schedule(s)
            y = by_prediction(p, to)
            if s > 0 and has_signal(schedule(t)):
                y = by_eps(x, (p.eps + denoise(y, s, cond).eps) / 2, at, to)
            x = y
            yield x, p
