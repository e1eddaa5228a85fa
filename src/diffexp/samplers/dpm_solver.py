"""DPM-Solver, single step: each step calls the network at points of its own. Lu et al. 2022a, b.

In λ = log α/σ, with h = λ_s − λ_t, order 2 looks at λ_t + h/2, order 3 at λ_t + h/3 and λ_t + 2h/3. What is
held over a step is ε (DPM-Solver) or x0 (DPM-Solver++), mended by the differences at those points. A list of
orders that ends with 1, as the published ones for order 3 do for two of three numbers of calls, has the order
of that step at its end.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from diffexp.diffusion.denoiser import Denoise, Prediction
from diffexp.diffusion.schedule import Schedule
from diffexp.errors import ConfigError
from diffexp.samplers.grid import Spacing, grid
from diffexp.samplers.sampler import Noise, Sampler
from diffexp.samplers.transfer import by_prediction, has_signal


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
class DPMSolver(Sampler):
    """`steps` is the number of network calls, shared among steps of order up to `order`; the last call is the
    step to the end, which gives x0. Steps from above σ/α = 80 are those of DDIM.

    hold: eps for DPM-Solver, x0 for DPM-Solver++.
    """

    spacing: Spacing = "logsnr"
    order: int = 3
    hold: Literal["x0", "eps"] = "eps"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.order <= 3:
            raise ConfigError(f"order={self.order}", "sampler.order", "give 1, 2 or 3")
        if self.steps < 2:
            raise ConfigError(f"steps={self.steps} calls", "sampler.steps", "give 2 or more")

    def grid(self, schedule: Schedule) -> Tensor:
        return grid(schedule, len(orders_of(self.steps - 1, self.order)) + 1, self.spacing, self.snap)

    def _moves(self, schedule: Schedule) -> Iterator[tuple[Tensor, Tensor, list[Tensor]]]:
        """(t, s, the times between at which the network is called)."""
        orders = [*orders_of(self.steps - 1, self.order), 1]
        for (_, t, s), order in zip(self.pairs(schedule), orders, strict=False):  # quad may have fewer
            at, to = schedule(t), schedule(s)
            if order == 1 or s == 0 or not has_signal(at):
                yield t, s, []
            else:
                parts = [torch.lerp(at.lam, to.lam, i / order) for i in range(1, order)]
                yield t, s, [schedule.time((-part).exp().atan()) for part in parts]

    def calls(self, schedule: Schedule) -> Tensor:
        return torch.stack([u for t, _, between in self._moves(schedule) for u in (t, *between)])

    def run(
        self, denoise: Denoise, schedule: Schedule, noise: Noise, cond: Tensor | None = None
    ) -> Iterator[tuple[Tensor, Prediction]]:
        x = noise(0)
        for t, s, between in self._moves(schedule):
            p = denoise(x, t, cond)
            known = [p]
            for u in between:
                y = self._to(schedule, x, known[:2], t, u, s)
                known.append(denoise(y, u, cond))
            x = by_prediction(p, schedule(s)) if not between else self._to(schedule, x, known, t, s, s)
            yield x, p

    def _to(
        self, schedule: Schedule, x: Tensor, known: list[Prediction], t: Tensor, u: Tensor, s: Tensor
    ) -> Tensor:
        """x_u, from the predictions at t and, where there are more, at the last point before u."""
        at, to = schedule(t), schedule(u)
        if len(known) == 1:
            return by_prediction(known[0], to)
        sign = 1.0 if self.hold == "eps" else -1.0
        h = sign * (to.lam - at.lam)
        first, last = (p.eps if sign > 0 else p.x0 for p in (known[0], known[-1]))
        phi = torch.expm1(h)
        if len(known) == 2 and torch.equal(u, s):  # order 2
            weight = phi * (first + (last - first))
        else:  # order 3: the point at 1/3 for 2/3, and that for the end
            share = 2.0 if len(known) == 2 else 1.5
            weight = phi * first + share * (phi / h - 1) * (last - first)
        keep, scale = (to.alpha / at.alpha, to.sigma) if sign > 0 else (to.sigma / at.sigma, to.alpha)
        return keep * x - scale * weight
