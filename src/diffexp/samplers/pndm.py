"""Linear multistep of ε with fixed coefficients, moved by DDIM's step. Liu et al. 2022 (PNDM).

    ε' = (55 ε_k − 59 ε_{k−1} + 37 ε_{k−2} − 9 ε_{k−3}) / 24,     x_s = (α_s/α_t) x_t + (σ_s − σ_t α_s/α_t) ε'

(Adams & Bashforth, for even steps of the variable; those of ρ = σ/α are not even, which limits the order).
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
from diffexp.samplers.transfer import by_eps, by_prediction, has_signal

_COEFFICIENTS = {
    1: (1.0,),
    2: (3 / 2, -1 / 2),
    3: (23 / 12, -16 / 12, 5 / 12),
    4: (55 / 24, -59 / 24, 37 / 24, -9 / 24),
}


@dataclass(frozen=True, kw_only=True)
class PNDM(Sampler):
    """start: how the first predictions are made, before there are enough.

    lower: by lower orders (iPNDM, Zhang & Chen 2023), one network call a step; heun: the first step by Heun's
    method (PLMS of Rombach et al. 2022), one call more; runge_kutta: the first three steps by the classical
    method of order 4 (F-PNDM), nine calls more. The latter two want short first steps: not
    spacing=soft. Steps from above σ/α = 80 are those of DDIM.
    """

    order: int = 4
    start: Literal["lower", "heun", "runge_kutta"] = "lower"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.order not in _COEFFICIENTS:
            raise ConfigError(f"order={self.order}", "sampler.order", "give 1, 2, 3 or 4")
        if self.start == "runge_kutta" and self.order != 4:
            raise ConfigError("start=runge_kutta is of order 4", "sampler.order", "give 4, or start=lower")

    def calls(self, schedule: Schedule) -> Tensor:
        return torch.cat([torch.stack(self._at(schedule, k, t, s)) for k, t, s in self.pairs(schedule)])

    def _at(self, schedule: Schedule, k: int, t: Tensor, s: Tensor) -> list[Tensor]:
        """The times of the calls of one step."""
        if not has_signal(schedule(t)) or s == 0:
            return [t]
        k -= sum(not has_signal(schedule(u)) for u in self.grid(schedule)[:k])  # steps with signal so far
        if self.start == "heun" and k == 1 and self.order > 1:
            return [t, s]
        if self.start == "runge_kutta" and k <= 3:
            return [t, (t + s) / 2, (t + s) / 2, s]
        return [t]

    def run(
        self, denoise: Denoise, schedule: Schedule, noise: Noise, cond: Tensor | None = None
    ) -> Iterator[tuple[Tensor, Prediction]]:
        x, known = noise(0), list[Tensor]()
        for k, t, s in self.pairs(schedule):
            p, at, to = denoise(x, t, cond), schedule(t), schedule(s)
            more = self._at(schedule, k, t, s)[1:]
            if not has_signal(at):
                x = by_prediction(p, to)
            else:
                known = [p.eps, *known][: self.order]
                x = by_eps(x, self._slope(denoise, schedule, x, known, t, more, cond), at, to)
            yield x, p

    @staticmethod
    def _slope(
        denoise: Denoise,
        schedule: Schedule,
        x: Tensor,
        known: list[Tensor],
        t: Tensor,
        more: list[Tensor],
        cond: Tensor | None,
    ) -> Tensor:
        """ε over the step, by `more` calls or by the known ones."""
        if not more:
            return sum(
                (c * e for c, e in zip(_COEFFICIENTS[len(known)], known, strict=True)), torch.zeros(())
            )
        slopes = [known[0]]
        for u in more:
            y = by_eps(x, slopes[-1], schedule(t), schedule(u))
            slopes.append(denoise(y, u, cond).eps)
        weights = (1 / 2, 1 / 2) if len(slopes) == 2 else (1 / 6, 1 / 3, 1 / 3, 1 / 6)
        return sum((w * e for w, e in zip(weights, slopes, strict=True)), torch.zeros(()))
