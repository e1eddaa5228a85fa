"""DPM-Solver, single step: each step calls the network at points of its own. Lu et al. 2022a, b.

In λ = log α/σ, with h = λ_s − λ_t, order 2 looks at λ_t + h/2, order 3 at λ_t + h/3 and λ_t + 2h/3. What is
held over a step is ε (DPM-Solver) or x0 (DPM-Solver++), mended by the differences at those points. A list of
orders that ends with 1, as the published ones for order 3 do for two of three numbers of calls, has the order
of that step at its end.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from diffexp.diffusion.schedule import Schedule
from diffexp.errors import ConfigError
from diffexp.samplers.grid import GridTimes
from diffexp.samplers.table import Row, Stage, Step, Tabled, ddim, has_signal, middle


def orders_of(calls: int, order: int) -> list[int]:
    """The orders of the steps that make that many calls; the published lists."""
    if order == 1:
        return [1] * calls
    if order == 2:
        return [2] * (calls // 2) + [1] * (calls % 2)
    if calls < 3:
        return [calls]
    whole = calls // 3
    return [[3] * (whole - 1) + [2, 1], [3] * whole + [1], [3] * whole + [2]][calls % 3]


@dataclass(frozen=True, kw_only=True)
class DPMSolver(Tabled):
    """`steps` is the number of network calls, shared among steps of order up to `order`; the last call is the
    step to the end, which gives x0. Steps from above σ/α = 200 are those of DDIM.

    hold: eps for DPM-Solver, x0 for DPM-Solver++. On a grid typed by hand all steps have that order.
    """

    spacing: GridTimes = "logsnr"
    order: int = 3
    hold: Literal["x0", "eps"] = "eps"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.order <= 3:
            raise ConfigError(f"order={self.order}", "sampler.order", "give 1, 2 or 3")
        if self.steps < 2:
            raise ConfigError(f"steps={self.steps} calls", "sampler.steps", "give 2 or more")

    def _orders(self) -> list[int]:
        if not isinstance(self.spacing, str) or self.sections is not None:
            return [self.order] * (self.steps - 1) + [1]
        return [*orders_of(self.steps - 1, self.order), 1]

    def grid(self, schedule: Schedule) -> Tensor:
        return self.times(schedule, len(self._orders()))

    def table(self, schedule: Schedule) -> list[Step]:
        pairs = zip(self.pairs(schedule), self._orders(), strict=False)  # quad may have fewer
        return [single_step(schedule, t, s, order, self.hold) for (_, t, s), order in pairs]


def single_step(
    schedule: Schedule, t: Tensor, s: Tensor, order: int, hold: Literal["x0", "eps"] = "eps"
) -> Step:
    """One step. To the end, and from above σ/α = 200, it is of order 1."""
    at = schedule(t)
    if order == 1 or s == 0 or not has_signal(at):
        return Step(t, s, ddim(at, schedule(s)))
    first = middle(at, schedule(s), 1 / order, schedule)
    stages = [Stage(ddim(at, schedule(first)), first)]
    if order == 2:
        return Step(t, s, _mended(schedule, t, s, None, hold), tuple(stages))
    second = middle(at, schedule(s), 2 / 3, schedule)
    stages.append(Stage(_mended(schedule, t, second, 2.0, hold), second))
    row = _mended(schedule, t, s, 1.5, hold)
    # the look before the last has no weight: the newest, none, the first
    return Step(t, s, row._replace(weights=(row.weights[0], 0.0, row.weights[1])), tuple(stages))


def _mended(schedule: Schedule, t: Tensor, s: Tensor, share: float | None, hold: Literal["x0", "eps"]) -> Row:
    """keep x − scale (φ q + w (q' − q)) of the newest look q' and the first q: w = φ for order 2, and
    share (φ/h − 1) for order 3.
    """
    at, to, sign = schedule(t), schedule(s), 1.0 if hold == "eps" else -1.0
    h = sign * (to.lam - at.lam)
    phi = torch.expm1(h)
    w = phi if share is None else share * (phi / h - 1)
    keep, scale = (to.alpha / at.alpha, to.sigma) if sign > 0 else (to.sigma / at.sigma, to.alpha)
    return Row(float(keep), (float(-scale * w), float(-scale * (phi - w))), hold)
