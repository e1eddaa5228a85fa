"""Steps along the probability-flow ODE when one of its two quantities is held:

    held x0:  x_s = (σ_s/σ_t) x_t + (α_s − α_t σ_s/σ_t) x0,
    held ε:   x_s = (α_s/α_t) x_t + (σ_s − σ_t α_s/α_t) ε.

For a prediction (x0, ε) of x_t both are DDIM's step, α_s x0 + σ_s ε. Solvers of higher order put a better
guess of x0 or of ε, over the step, in the place of the prediction.
"""

import torch
from torch import Tensor

from diffexp.diffusion.denoiser import Prediction
from diffexp.diffusion.schedule import Level
from diffexp.samplers.grid import RATIO_MAX


def has_signal(level: Level) -> bool:
    """Whether a step from here can be made of ε: above σ/α = 80 its error is too much magnified in x/α."""
    return float(level.ratio) <= RATIO_MAX * (1 + 1e-9)


def mix(a: Tensor | float, x: Tensor, b: Tensor | float, y: Tensor) -> Tensor:
    """a x + b y, in the precision of x."""
    return torch.mul(x, float(a)).add_(y, alpha=float(b))


def by_prediction(p: Prediction, to: Level) -> Tensor:
    """DDIM's step; the only one of the two that can begin without signal."""
    return mix(to.alpha, p.x0, to.sigma, p.eps)


def by_eps(x: Tensor, eps: Tensor, at: Level, to: Level) -> Tensor:
    """ε held over the step; α_t > 0."""
    keep = to.alpha / at.alpha
    return mix(keep, x, to.sigma - at.sigma * keep, eps)
