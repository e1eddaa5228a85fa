"""Restart: the ODE, with some stretches of it gone over again from fresh noise. Xu et al. 2023.

The noise that takes x back up contracts the errors made before; the ODE below it has short steps. So it has
the small error of an ODE at few calls and that of an SDE at many.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from diffexp.diffusion.schedule import Schedule
from diffexp.errors import ConfigError, check_at_most
from diffexp.samplers.grid import GridTimes, between
from diffexp.samplers.heun import heun, lifted
from diffexp.samplers.sampler import MOST_STEPS
from diffexp.samplers.table import Step, Tabled


@dataclass(frozen=True, kw_only=True)
class Restart(Tabled):
    """Heun's method; two network calls a step but the last.

    restarts: (low, high, steps, times) each: from the time of the grid nearest to σ/α = low, so many times up
    to σ/α = high and down again by that many steps, spaced as those of Karras et al. 2022.
    """

    spacing: GridTimes = "karras"
    restarts: tuple[tuple[float, float, int, int], ...] = ((0.06, 0.3, 4, 2),)

    def __post_init__(self) -> None:
        super().__post_init__()
        for low, high, steps, times in self.restarts:
            if not (0 < low < high and steps >= 1 and times >= 0):
                what = f"restart [{low}, {high}, {steps}, {times}]"
                do = "give [low, high, steps, times] with 0 < low < high of σ/α"
                raise ConfigError(what, "sampler.restarts", do)
            check_at_most(MOST_STEPS, "sampler.restarts", steps=steps, times=times, all=steps * times)

    def table(self, schedule: Schedule) -> list[Step]:
        pairs, steps = list(self.pairs(schedule)), list[Step]()
        ends = schedule(torch.stack([s for _, _, s in pairs[:-1]])).lam if len(pairs) > 1 else torch.empty(0)
        for k, t, s in pairs:
            steps.append(heun(schedule, t, s))
            for low, high, count, times in self.restarts:
                if len(ends) and k - 1 == int((ends + math.log(low)).abs().argmin()):
                    steps += self._again(schedule, s, high, count) * times
        return steps

    def _again(self, schedule: Schedule, s: Tensor, high: float, count: int) -> list[Step]:
        """Up to σ/α = high and down to s again."""
        low, top = float(schedule(s).ratio), min(high, float(schedule(torch.ones_like(s)).ratio))
        if top <= low:
            return []
        down = schedule.time(between("karras", top, low, count + 1).atan())
        down[-1] = s
        steps = [heun(schedule, a, b) for a, b in pairwise(down)]
        return [steps[0]._replace(lift=lifted(schedule(s), schedule(down[0]))), *steps[1:]]
