"""DPM-Solver with steps as long as each image allows. Lu et al. 2022a, appendix C.

In λ = log α/σ a step h is tried by order p and by order p − 1; E is the root mean square, over an image, of
their difference over max(atol, rtol max(|lower|, |before|)). The step stands when E ≤ 1, and the next is
θ h E^(−1/p). Each image has steps of its own, so that it is the same in any batch.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from diffexp.condition import Condition
from diffexp.diffusion.denoiser import Denoise, Prediction
from diffexp.diffusion.schedule import Schedule, like
from diffexp.errors import ConfigError, DivergedError, check_at_most
from diffexp.randomness import Draws
from diffexp.samplers.grid import START
from diffexp.samplers.sampler import Sampler
from diffexp.samplers.table import ddim, has_signal

GROWTH = 3.0  # of a step, at most; the paper has no limit, and an E that is small by chance leaps too far


@dataclass(frozen=True, kw_only=True)
class Adaptive(Sampler):
    """order 2 or 3, as many network calls for each try, and one for the step from t = 1/T to the end.

    rtol, atol: how large an error may be; first: the first h; safety: θ. tries: after so many an image
    is given up, with DivergedError. steps: which recipes set for samplers that have a grid, is not used.
    """

    order: int = 3
    rtol: float = 0.05
    atol: float = 0.0078
    first: float = 0.05
    safety: float = 0.9
    tries: int = 1000
    steps: int | None = None

    def __post_init__(self) -> None:
        if self.order not in (2, 3):
            raise ConfigError(f"order={self.order}", "sampler.order", "give 2 or 3")
        if min(self.rtol, self.atol) < 0 or not self.rtol + self.atol > 0 or not 0 < self.safety < 1:
            what = f"rtol={self.rtol}, atol={self.atol}, safety={self.safety}"
            raise ConfigError(what, "sampler", "give positive tolerances, and safety between 0 and 1")
        check_at_most(10**6, "sampler", tries=self.tries)
        if self.first <= 0:
            raise ConfigError(f"first={self.first}", "sampler.first", "give a positive step of λ")

    def grid(self, schedule: Schedule) -> Tensor:
        """The ends: the noisiest time, the last one that the network sees, and 0."""
        return torch.tensor([1, 1 / schedule.T, 0], dtype=torch.float64)

    def run(
        self, denoise: Denoise, schedule: Schedule, noise: Draws, cond: Condition | None = None
    ) -> Iterator[tuple[Tensor, Prediction]]:
        x = noise(0)
        start, last, end = self.grid(schedule)
        if not has_signal(schedule(start)):
            capped = schedule.time(torch.tensor(START, dtype=torch.float64).atan())
            p = denoise(x, start, cond)
            x, start = ddim(schedule(start), schedule(capped))(x, [p]), capped
            yield x, p
        one = torch.ones(len(x), *[1] * (x.ndim - 1), dtype=torch.float64, device=x.device)
        lam, h, goal = schedule(start).lam * one, self.first * one, schedule(last).lam
        before, tried = x.clone(), 0
        while (rows := (lam < goal - 1e-9).flatten().nonzero().flatten()).numel():
            tried += 1
            if tried > self.tries:
                do = "raise sampler.tries, sampler.rtol or sampler.atol"
                raise DivergedError(f"no end after {self.tries} tries of a step", "sampler", do)
            label = None if cond is None else cond[rows]
            at, step = lam[rows], torch.minimum(h[rows], goal - lam[rows])
            high, low, p = self._tried(denoise, schedule, x[rows], at, step, label)
            error = _error(high, low, before[rows], self.atol, self.rtol)
            good = error <= 1
            taken = rows[good.flatten()]
            x, before, lam = x.clone(), before.clone(), lam.clone()
            x[taken], before[taken] = high[good.flatten()], low[good.flatten()]
            lam[taken] = (at + step)[good.flatten()]
            growth = (self.safety * error.clamp(min=1e-6) ** (-1 / self.order)).clamp(max=GROWTH)
            h = h.index_copy(0, rows, step * growth)
            yield x, p
        p = denoise(x, last, cond)
        yield ddim(schedule(last), schedule(end))(x, [p]), p

    def _tried(
        self, denoise: Denoise, schedule: Schedule, x: Tensor, lam: Tensor, h: Tensor, cond: Condition | None
    ) -> tuple[Tensor, Tensor, Prediction]:
        """x at λ + h by both orders, and the prediction at λ."""
        p = denoise(x, _time(schedule, lam), cond)
        share = 1 / self.order
        near = lam + share * h
        first = denoise(_move(x, lam, share * h, p.eps), _time(schedule, near), cond)
        change = first.eps - p.eps
        if self.order == 2:
            return _move(x, lam, h, p.eps, change, 1.0, 0), _move(x, lam, h, p.eps), p
        far = lam + 2 / 3 * h
        second = denoise(_move(x, lam, 2 / 3 * h, p.eps, change, 2.0, 1), _time(schedule, far), cond)
        high = _move(x, lam, h, p.eps, second.eps - p.eps, 1.5, 1)
        return high, _move(x, lam, h, p.eps, change, 1.5, 0), p


def _time(schedule: Schedule, lam: Tensor) -> Tensor:
    return schedule.time((-lam).exp().atan())


def _move(
    x: Tensor,
    lam: Tensor,
    h: Tensor,
    eps: Tensor,
    change: Tensor | None = None,
    share: float = 0.0,
    j: int = 0,
) -> Tensor:
    """(α'/α) x − σ' (φ_1 ε + share φ_{j+1} change), φ_1 = e^h − 1, φ_2 = φ_1/h − 1."""
    angle, phi = (-lam - h).exp().atan(), torch.expm1(h)
    keep = torch.cos(angle) / torch.cos((-lam).exp().atan())
    y = like(keep, x) * x - like(torch.sin(angle) * phi, x) * eps
    if change is None:
        return y
    weight = share * (phi / h - 1 if j else phi)
    return y - like(torch.sin(angle) * weight, x) * change


def _error(high: Tensor, low: Tensor, before: Tensor, atol: float, rtol: float) -> Tensor:
    """float64 (B, 1, 1, 1)."""
    scale = (rtol * torch.maximum(low.abs(), before.abs())).clamp(min=atol)
    dims = tuple(range(1, high.ndim))
    return ((high - low) / scale).double().square().mean(dims, keepdim=True).sqrt()
