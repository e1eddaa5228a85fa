"""Ancestral sampling: x_s ~ p(x_s | x_t) = N(c_x x_t + c_0 x̂0, var). Ho et al. 2020, algorithm 2."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from diffexp.diffusion.schedule import Schedule
from diffexp.diffusion.variance import log_variance
from diffexp.errors import ConfigError
from diffexp.samplers.table import OneCall, Row


@dataclass(frozen=True, kw_only=True)
class DDPM(OneCall):
    """The reverse chain, or a strided one (Nichol & Dhariwal 2021, section 4). One network call a step.

    variance: fixed_small (β̃), fixed_large (β), that of the model, or analytic, the best one that is the same
    for all pixels, β̃ + c_0² E Var[x0 | x_t], where E Var[x0 | x_t] = (σ/α)² (1 − Γ), Γ = E|ε̂|²/d (Bao et al.
    2022, Analytic-DPM). gammas: Γ at t = i/n, i = 1 .. n; task=sample and task=evaluate measure them.
    """

    variance: Literal["model", "fixed_small", "fixed_large", "analytic"] = "model"
    gammas: tuple[float, ...] | None = None

    def row(self, schedule: Schedule, known: Sequence[Tensor], s: Tensor) -> Row:
        q = schedule.posterior(s, known[0])
        keep, weights = float(q.c_x), (float(q.c_0),)
        if s == 0:
            return Row(keep, weights)
        low, high = (float(log_variance(schedule, s, known[0], f)) for f in (-1.0, 1.0))
        if self.variance == "analytic":
            var = float(q.var) + float(q.c_0) ** 2 * self._unknown(schedule, known[0])
            return Row(keep, weights, std=math.sqrt(min(max(var, math.exp(low)), math.exp(high))))
        if self.variance == "model":
            return Row(keep, weights, bounds=(low, high))
        return Row(keep, weights, std=math.exp((low if self.variance == "fixed_small" else high) / 2))

    def _unknown(self, schedule: Schedule, t: Tensor) -> float:
        """E Var[x0 | x_t]; Γ between its points by interpolation."""
        if not self.gammas:
            do = "use it with task=sample or task=evaluate, task.ckpt=RUN"
            raise ConfigError("variance=analytic is measured on a checkpoint", "sampler.variance", do)
        place = float(t) * len(self.gammas) - 1
        i = min(max(int(place), 0), len(self.gammas) - 2) if len(self.gammas) > 1 else 0
        a, b = self.gammas[i], self.gammas[min(i + 1, len(self.gammas) - 1)]
        gamma = a + (b - a) * min(max(place - i, 0.0), 1.0)
        # no more than that of any image in [−1, 1], where σ/α is large and 1 − Γ next to nothing
        return min(float(schedule(t).ratio) ** 2 * max(0.0, 1 - gamma), 1.0)
