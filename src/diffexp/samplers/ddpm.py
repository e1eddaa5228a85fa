"""Ancestral sampling: x_s ~ p(x_s | x_t) = N(c_x x_t + c_0 x̂0, var). Ho et al. 2020, algorithm 2."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from diffexp.diffusion.schedule import Schedule
from diffexp.diffusion.variance import log_variance
from diffexp.samplers.tabled import OneCall, Row


@dataclass(frozen=True, kw_only=True)
class DDPM(OneCall):
    """The reverse chain, or a strided one (Nichol & Dhariwal 2021, section 4). One network call a step.

    variance: fixed_small (β̃), fixed_large (β), or that of the model.
    """

    variance: Literal["model", "fixed_small", "fixed_large"] = "model"

    def row(self, schedule: Schedule, known: Sequence[Tensor], s: Tensor) -> Row:
        q = schedule.posterior(s, known[0])
        keep, weights = float(q.c_x), (float(q.c_0),)
        if s == 0:
            return Row(keep, weights)
        low, high = (float(log_variance(schedule, s, known[0], f)) for f in (-1.0, 1.0))
        if self.variance == "model":
            return Row(keep, weights, bounds=(low, high))
        return Row(keep, weights, std=math.exp((low if self.variance == "fixed_small" else high) / 2))
