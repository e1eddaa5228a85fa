"""Heun's method for dx̄/dσ̄ = ε, x̄ = x/α, σ̄ = σ/α, with fresh noise before each step if wanted.

Karras et al. 2022, algorithms 1 and 2.
"""

import math
from dataclasses import dataclass

from torch import Tensor

from diffexp.diffusion.schedule import Level, Schedule
from diffexp.errors import ConfigError
from diffexp.samplers.grid import GridTimes
from diffexp.samplers.table import Row, Stage, Step, Tabled, by_eps, ddim, has_signal


def heun(schedule: Schedule, t: Tensor, s: Tensor, lift: Row | None = None) -> Step:
    """One step: the mean of ε at both ends. To the end, and from above σ/α = 200, it is DDIM's."""
    at, to = schedule(t), schedule(s)
    if s == 0 or not has_signal(at):
        return Step(t, s, ddim(at, to), lift=lift)
    return Step(t, s, by_eps(at, to, 0.5, 0.5), (Stage(ddim(at, to), s),), lift)


def lifted(at: Level, to: Level, strength: float = 1.0) -> Row:
    """Return the row from a level to a noisier one by fresh noise."""
    added = to.alpha * (to.ratio**2 - at.ratio**2).sqrt() * strength
    return Row(float(to.alpha / at.alpha), std=float(added))


@dataclass(frozen=True, kw_only=True)
class Heun(Tabled):
    """Second order, two network calls a step but the last: 2 steps − 1 in all.

    s_churn: how much noise is added in all, while σ/α is in [s_tmin, s_tmax], s_noise times as strong as it
    should be. Steps from above σ/α = 200 (nearly zero terminal SNR) are those of DDIM.
    """

    spacing: GridTimes = "karras"
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

    def table(self, schedule: Schedule) -> list[Step]:
        steps = list[Step]()
        for _, t, s in self.pairs(schedule):
            up = self._raised(schedule, t)
            lift = lifted(schedule(t), schedule(up), self.s_noise) if up > t else None
            steps.append(heun(schedule, up, s, lift))
        return steps

    def _raised(self, schedule: Schedule, t: Tensor) -> Tensor:
        """The time to which noise is added; no farther than the schedule goes."""
        ratio = schedule(t).ratio
        if not self.s_churn or not has_signal(schedule(t)) or not self.s_tmin <= float(ratio) <= self.s_tmax:
            return t
        gamma = min(self.s_churn / self.steps, math.sqrt(2) - 1)
        return schedule.time((ratio * (1 + gamma)).atan().clamp(max=float(schedule.angles[-1])))
