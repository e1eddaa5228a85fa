"""Ancestral sampling: x_s ~ p(x_s | x_t) = N(c_x x_t + c_0 x̂0, var). Ho et al. 2020, algorithm 2."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from diffexp.diffusion.denoiser import Denoise, Prediction
from diffexp.diffusion.schedule import Schedule
from diffexp.diffusion.variance import log_variance
from diffexp.samplers.sampler import Noise, Sampler

_FRAC = {"fixed_small": -1.0, "fixed_large": 1.0}


@dataclass(frozen=True, kw_only=True)
class DDPM(Sampler):
    """The reverse chain, or a strided one (Nichol & Dhariwal 2021, section 4). One network call a step.

    variance: fixed_small (β̃), fixed_large (β), or that of the model.
    """

    variance: Literal["model", "fixed_small", "fixed_large"] = "model"

    def run(
        self, denoise: Denoise, schedule: Schedule, noise: Noise, cond: Tensor | None = None
    ) -> Iterator[tuple[Tensor, Prediction]]:
        x = noise(0)
        for k, t, s in self.pairs(schedule):
            p, q = denoise(x, t, cond), schedule.posterior(s, t)
            x = q.c_x * x + q.c_0 * p.x0
            if s > 0:
                frac = _FRAC.get(self.variance, p.frac)
                x = x + (log_variance(schedule, s, t, frac) / 2).exp() * noise(k)
            yield x, p
