"""UniPC: the predictor of DPM-Solver++ and, without another network call, a corrector. Zhao et al. 2023.

Data prediction. With h = λ_s − λ_t, r_k = (λ_k − λ_t)/h and D_k = (x0_k − x0)/r_k of the earlier predictions
(and, for the corrector, of the one at s, r = 1), DDIM's step is mended by −α_s B Σ_k ρ_k D_k, where

    Σ_k ρ_k r_k^(j−1) = j! φ_{j+1}(−h) / B,   j = 1, 2, ...,
    φ_1(u) = (e^u − 1)/u,  φ_{j+1}(u) = (φ_j(u) − 1/j!)/u,  and B = −h (bh1) or e^(−h) − 1 (bh2).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from diffexp.diffusion.denoiser import Denoise, Prediction
from diffexp.diffusion.schedule import Schedule
from diffexp.errors import ConfigError
from diffexp.samplers.sampler import Noise, Sampler
from diffexp.samplers.transfer import by_x0


@dataclass(frozen=True, kw_only=True)
class UniPC(Sampler):
    """order 1 to 3, one network call a step.

    form: of B, the paper's two. The order is lower at the start, and the step to the end gives x0.
    """

    order: int = 2
    form: Literal["bh1", "bh2"] = "bh2"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.order <= 3:
            raise ConfigError(f"order={self.order}", "sampler.order", "give 1, 2 or 3")

    def run(
        self, denoise: Denoise, schedule: Schedule, noise: Noise, cond: Tensor | None = None
    ) -> Iterator[tuple[Tensor, Prediction]]:
        x, known = noise(0), list[tuple[Tensor, Tensor]]()  # (t, x0), the last first
        start: Tensor | None = None
        for _, t, s in self.pairs(schedule):
            p = denoise(x, t, cond)
            if start is not None:
                x = self._step(schedule, start, known, t, p.x0)
            known = [(t, p.x0), *known][: self.order]
            start = x
            x = self._step(schedule, x, known, s, None)
            yield x, p

    def _step(
        self,
        schedule: Schedule,
        x: Tensor,
        known: Sequence[tuple[Tensor, Tensor]],
        s: Tensor,
        new: Tensor | None,
    ) -> Tensor:
        """From the newest known time to s; with the prediction `new` at s, corrected."""
        (t, x0), to = known[0], schedule(s)
        at = schedule(t)
        y, h = by_x0(x, x0, at, to), to.lam - at.lam
        if not h.isfinite():
            return y
        ratios, differences = list[Tensor](), list[Tensor]()
        for u, other in known[1:]:
            r = (schedule(u).lam - at.lam) / h
            if r.isfinite():
                ratios.append(r)
                differences.append((other - x0) / r)
        if new is not None:
            ratios.append(torch.ones((), dtype=torch.float64))
            differences.append(new - x0)
        for w, d in zip(self._weights(torch.stack(ratios), h) if ratios else [], differences, strict=True):
            y = y - to.alpha * w * d
        return y

    def _weights(self, r: Tensor, h: Tensor) -> Tensor:
        """B ρ, float64 (k,)."""
        scale = torch.expm1(-h) if self.form == "bh2" else -h
        phi, rows, right = torch.expm1(-h) / -h - 1, [], []
        factorial = 1.0
        for j in range(1, len(r) + 1):
            rows.append(r ** (j - 1))
            right.append(phi * factorial / scale)
            factorial *= j + 1
            phi = phi / -h - 1 / factorial
        if len(r) == 1:
            return scale * torch.full((1,), 0.5, dtype=torch.float64)  # the paper's own choice
        return scale * torch.linalg.solve(torch.stack(rows), torch.stack(right))
