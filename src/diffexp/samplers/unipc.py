"""UniPC: the predictor of DPM-Solver++ and, without another network call, a corrector. Zhao et al. 2023.

Data prediction. With h = λ_s − λ_t, r_k = (λ_k − λ_t)/h and D_k = (x0_k − x0)/r_k of the earlier predictions
(and, for the corrector, of the one at s, r = 1), DDIM's step is mended by −α_s B Σ_k ρ_k D_k, where

    Σ_k ρ_k r_k^(j−1) = j! φ_{j+1}(−h) / B,   j = 1, 2, ...,
    φ_1(u) = (e^u − 1)/u,  φ_{j+1}(u) = (φ_j(u) − 1/j!)/u,  and B = −h (bh1) or e^(−h) − 1 (bh2).

B matters only where the paper takes ρ = 1/2 for a single D_k; solved for there too (exact), B falls out, and
the method is exponential Adams with a corrector (adams.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from diffexp.diffusion.schedule import Schedule
from diffexp.errors import ConfigError
from diffexp.samplers.table import Multistep, Row, ddim
from diffexp.untyped import solve


@dataclass(frozen=True, kw_only=True)
class UniPC(Multistep):
    """order 1 to 3, which the corrector raises by one.

    form: of B, the paper's two, or exact. The order is lower at the start, and where λ is infinite: after a
    start without any signal, and in the step to the end, which gives x0.
    """

    form: Literal["bh1", "bh2", "exact"] = "bh2"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.order <= 3:
            raise ConfigError(f"order={self.order}", "sampler.order", "give 1, 2 or 3")

    def row(self, schedule: Schedule, known: Sequence[Tensor], s: Tensor) -> Row:
        keep, (first,), *_ = ddim(schedule(known[0]), schedule(s))
        others = self._differences(schedule, known[0], s, known[1:])
        return Row(keep, (first - sum(others), *others))

    def mend(self, schedule: Schedule, known: Sequence[Tensor], s: Tensor) -> Row | None:
        if not (schedule(s).lam - schedule(known[0]).lam).isfinite():
            return None
        keep, (first,), *_ = ddim(schedule(known[0]), schedule(s))
        *others, new = self._differences(schedule, known[0], s, [*known[1:], s])
        return Row(keep, (new, first - new - sum(others), *others))

    def _differences(self, schedule: Schedule, t: Tensor, s: Tensor, nodes: Sequence[Tensor]) -> list[float]:
        """The weight of x0_k − x0, −α_s B ρ_k/r_k, for each node with signal."""
        h = schedule(s).lam - schedule(t).lam
        r = [(schedule(u).lam - schedule(t).lam) / h for u in nodes]
        r = torch.stack([v for v in r if v.isfinite()] or [h.new_empty(0)]).flatten()
        if not h.isfinite() or not len(r):
            return []
        return [float(w) for w in -schedule(s).alpha * self._weights(r, h) / r]

    def _weights(self, r: Tensor, h: Tensor) -> Tensor:
        """B ρ, float64 (k,)."""
        if len(r) == 1 and self.form != "exact":
            return (torch.expm1(-h) if self.form == "bh2" else -h).view(1) / 2  # the paper's own choice
        rows, right = list[Tensor](), list[Tensor]()
        phi, factorial = torch.expm1(-h) / -h - 1, 1.0
        for j in range(1, len(r) + 1):
            rows.append(r ** (j - 1))
            right.append(phi * factorial)
            factorial *= j + 1
            phi = phi / -h - 1 / factorial
        return solve(torch.stack(rows), torch.stack(right))
