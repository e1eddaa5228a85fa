"""Linear multistep of ε with fixed coefficients, moved by DDIM's step. Liu et al. 2022 (PNDM).

    ε' = (55 ε_k − 59 ε_{k−1} + 37 ε_{k−2} − 9 ε_{k−3}) / 24,     x_s = (α_s/α_t) x_t + (σ_s − σ_t α_s/α_t) ε'

(Adams & Bashforth, for even steps of the variable; those of ρ = σ/α are not even, which limits the order).
"""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from diffexp.diffusion.schedule import Schedule
from diffexp.errors import ConfigError
from diffexp.samplers.table import Stage, Step, Tabled, by_eps, ddim, has_signal

_COEFFICIENTS = {
    1: (1.0,),
    2: (3 / 2, -1 / 2),
    3: (23 / 12, -16 / 12, 5 / 12),
    4: (55 / 24, -59 / 24, 37 / 24, -9 / 24),
}


@dataclass(frozen=True, kw_only=True)
class PNDM(Tabled):
    """start: how the first predictions are made, before there are enough.

    lower: by lower orders (iPNDM, Zhang & Chen 2023), one network call a step; heun: the first step by Heun's
    method (PLMS of Rombach et al. 2022), one call more; runge_kutta: the first three steps by the classical
    method of order 4 (F-PNDM), nine calls more. The latter two want short first steps: not
    spacing=soft. Steps from above σ/α = 200 are those of DDIM.
    """

    order: int = 4
    start: Literal["lower", "heun", "runge_kutta"] = "lower"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.order not in _COEFFICIENTS:
            raise ConfigError(f"order={self.order}", "sampler.order", "give 1, 2, 3 or 4")
        if self.start == "runge_kutta" and self.order != 4:
            raise ConfigError("start=runge_kutta is of order 4", "sampler.order", "give 4, or start=lower")

    @property
    def reach(self) -> int:
        return self.order

    def table(self, schedule: Schedule) -> list[Step]:
        steps, seen = list[Step](), 0  # how many predictions can be used
        for _, t, s in self.pairs(schedule):
            at = schedule(t)
            if not has_signal(at):
                steps.append(Step(t, s, ddim(at, schedule(s))))
                continue
            seen += 1
            if s > 0 and self.start == "heun" and seen == 1 and self.order > 1:
                steps.append(_runge_kutta(schedule, t, s, (s,), (1 / 2, 1 / 2)))
            elif s > 0 and self.start == "runge_kutta" and seen <= 3:
                half = (t + s) / 2
                steps.append(_runge_kutta(schedule, t, s, (half, half, s), (1 / 6, 1 / 3, 1 / 3, 1 / 6)))
            else:
                row = by_eps(at, schedule(s), *_COEFFICIENTS[min(seen, self.order)])
                steps.append(Step(t, s, row))
        return steps


def _runge_kutta(
    schedule: Schedule, t: Tensor, s: Tensor, looks: tuple[Tensor, ...], weights: tuple[float, ...]
) -> Step:
    """Each look goes from t by the ε of the one before."""
    at = schedule(t)
    stages = tuple(Stage(by_eps(at, schedule(u), 1.0), u) for u in looks)
    return Step(t, s, by_eps(at, schedule(s), *reversed(weights)), stages)
