"""DDIM: from x_t to x_s with any share of fresh noise. Song et al. 2021, eq. 12 and 16:

    x_s = α_s x̂0 + √(σ_s² − std²) ε̂ + std z,    std = η √β̃.

η = 0 is the probability-flow ODE (Euler's method in σ/α), η = 1 is DDPM with the small variance.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from diffexp.diffusion.schedule import Schedule
from diffexp.errors import ConfigError
from diffexp.randomness import Draws
from diffexp.samplers.brownian import Brownian
from diffexp.samplers.table import OneCall, Row


@dataclass(frozen=True, kw_only=True)
class DDIM(OneCall):
    """One network call a step.

    eta: 0 or more, or hat for the row σ̂ of the paper's table 1: the direction of η = 1, and noise of the
    larger variance β. brownian: the noise of a seed is one path (brownian.py), whatever the steps and η, so
    that other steps give nearly the same images. Raises ConfigError for a negative eta.
    """

    eta: float | Literal["hat"] = 0.0
    brownian: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.eta != "hat" and self.eta < 0:
            raise ConfigError(f"eta={self.eta} is negative", "sampler.eta", "give 0 or more, or hat")

    def scales(self, schedule: Schedule, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """√(σ_s² − std²) of ε̂, and the std of the noise; float64."""
        at, to, q = schedule(t), schedule(s), schedule.posterior(s, t)
        eta = 1.0 if self.eta == "hat" else self.eta
        # σ_s² − β̃ = (σ_s² α_t / (α_s σ_t))², without the difference
        left = (to.sigma * at.alpha / (to.alpha * at.sigma)) ** 2
        turn = to.sigma * (1 - eta**2 + eta**2 * left).clamp(min=0).sqrt()
        if self.eta == "hat":
            # the last step is left without noise: it would stay in the image
            return turn, torch.where(s > 0, q.beta, 0).sqrt()
        return turn, eta * q.var.sqrt()

    def fresh(self, schedule: Schedule, noise: Draws) -> Callable[[int, Tensor, Tensor], Tensor]:
        if not self.brownian or not self.eta:
            return super().fresh(schedule, noise)
        path = Brownian(schedule, noise, eta=1.0)  # whose noise of small steps is √β̃, times η here
        return lambda k, t, s: path(t, s)

    def row(self, schedule: Schedule, known: Sequence[Tensor], s: Tensor) -> Row:
        at, to, (turn, std) = schedule(known[0]), schedule(s), self.scales(schedule, s, known[0])
        keep = turn / at.sigma  # ε̂ = (x_t − α_t x̂0)/σ_t
        return Row(float(keep), (float(to.alpha - keep * at.alpha),), std=float(std))
