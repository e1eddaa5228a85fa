"""Steps along the probability-flow ODE when one of its two quantities is held:

    held x0:  x_s = (σ_s/σ_t) x_t + (α_s − α_t σ_s/σ_t) x0,
    held ε:   x_s = (α_s/α_t) x_t + (σ_s − σ_t α_s/α_t) ε.

For a prediction (x0, ε) of x_t both are DDIM's step, α_s x0 + σ_s ε. Solvers of higher order put a better
guess of x0 or of ε, over the step, in the place of the prediction.
"""

from torch import Tensor

from diffexp.diffusion.denoiser import Prediction
from diffexp.diffusion.schedule import Level
from diffexp.samplers.grid import RATIO_MAX


def has_signal(level: Level) -> bool:
    """Whether a step from here can be made of ε: above σ/α = 80 its error is too much magnified in x/α."""
    return float(level.ratio) <= RATIO_MAX * (1 + 1e-9)


def by_prediction(p: Prediction, to: Level) -> Tensor:
    """DDIM's step; the only one of the three that can begin without signal."""
    return to.alpha * p.x0 + to.sigma * p.eps


def by_x0(x: Tensor, x0: Tensor, at: Level, to: Level) -> Tensor:
    """x0 held over the step; σ_t > 0."""
    keep = to.sigma / at.sigma
    return keep * x + (to.alpha - at.alpha * keep) * x0


def by_eps(x: Tensor, eps: Tensor, at: Level, to: Level) -> Tensor:
    """ε held over the step; α_t > 0."""
    keep = to.alpha / at.alpha
    return keep * x + (to.sigma - at.sigma * keep) * eps
