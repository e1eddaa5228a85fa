"""The midpoint rule in log σ/α: DPM-Solver-2 in the form of Karras et al. 2022 (k-diffusion's dpm_2)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from diffexp.diffusion.schedule import Schedule
from diffexp.errors import ConfigError
from diffexp.samplers.grid import GridTimes
from diffexp.samplers.table import Row, Stage, Step, Tabled, by_eps, ddim, has_signal, middle


@dataclass(frozen=True, kw_only=True)
class Midpoint(Tabled):
    """Second order, two network calls a step but the last.

    eta: the share of the ancestral step's noise; 0 for the ODE, 1 for dpm_2_ancestral, where the step goes
    below s and noise brings it back. Steps from above σ/α = 200 are those of DDIM.
    """

    spacing: GridTimes = "karras"
    eta: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.eta <= 1:
            raise ConfigError(f"eta={self.eta}", "sampler.eta", "give a share in [0, 1]")

    def table(self, schedule: Schedule) -> list[Step]:
        return [self._step(schedule, t, s) for _, t, s in self.pairs(schedule)]

    def _step(self, schedule: Schedule, t: Tensor, s: Tensor) -> Step:
        at, to, down = schedule(t), schedule(s), self._below(schedule, s, t)
        low = schedule(down)
        if down == 0 or not has_signal(at):
            row, stages = ddim(at, low), ()
        else:
            half = middle(at, low, 0.5, schedule)
            row, stages = by_eps(at, low, 1.0), (Stage(ddim(at, schedule(half)), half),)
        if down == s:
            return Step(t, s, row, stages)
        back = to.alpha / low.alpha
        std = to.alpha * (to.ratio**2 - low.ratio**2).sqrt()
        weights = tuple(float(back) * w for w in row.weights)
        return Step(t, s, Row(float(back) * row.keep, weights, row.hold, float(std)), stages)

    def _below(self, schedule: Schedule, s: Tensor, t: Tensor) -> Tensor:
        """The time from which noise leads up to s."""
        if not self.eta:
            return s
        to, at = schedule(s).ratio, schedule(t).ratio
        share = (to / at) ** 2 if at.isfinite() else torch.zeros(())
        return schedule.time((to * (1 - self.eta**2 * (1 - share)).clamp(min=0).sqrt()).atan())
