"""x_t = (1 − t) x0 + t ε, up to its length, and a network that predicts ε − x0."""

import torch

from diffexp.diffusion import Level, Schedule
from diffexp.diffusion.prediction import Coefficients


def straight(T: int = 1000) -> Schedule:
    """The angle whose tangent, σ/α, is t/(1 − t)."""
    t = torch.linspace(0, 1, T + 1, dtype=torch.float64)
    return Schedule(torch.atan2(t, 1 - t))


class Straight:
    """F = ε − x0, of z = (1 − t) x0 + t ε: x̂0 = z − t F."""

    def __call__(self, level: Level) -> Coefficients:
        length = 1 / (level.alpha + level.sigma)  # z is that times x_t, and t that times σ
        return Coefficients(c_in=length, c_skip=length, c_out=-level.sigma * length)
