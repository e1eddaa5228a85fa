"""Classifier-free guidance: a denoiser made of two calls of another,

    x̂0 = x̂0(null) + w (x̂0(cond) − x̂0(null)),    w = 1 is the conditional model, w = 0 the unconditional one

(the paper's own w' is w − 1). Both calls go through the network as one batch.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from diffexp.diffusion.denoiser import Denoise, Prediction, eps_from
from diffexp.diffusion.schedule import Schedule
from diffexp.errors import ConfigError


@dataclass(frozen=True)
class ClassifierFree:
    """Ho & Salimans 2022.

    scale: w. interval: guide only while σ/α is in (low, high] (Kynkäänniemi et al. 2024), null for always.
    rescale: φ of Lin et al. 2024, which brings the standard deviation of each image's x̂0 back to that of
    the conditional one (0 is off, 0.7 the paper's choice).
    """

    scale: float = 1.0
    interval: tuple[float, float] | None = None
    rescale: float = 0.0

    def __post_init__(self) -> None:
        if self.scale < 0:
            raise ConfigError(f"scale={self.scale}", "guidance.scale", "give 0 or more; 1 is off")
        if not 0 <= self.rescale <= 1:
            raise ConfigError(f"rescale={self.rescale}", "guidance.rescale", "give a share in [0, 1]")
        if self.interval is not None and not _rising(self.interval):
            what = f"interval={list(self.interval)}"
            raise ConfigError(what, "guidance.interval", "give [low, high] of σ/α with 0 <= low < high")

    def active(self, ratio: float) -> bool:
        """Whether a step at σ/α = ratio is guided."""
        inside = self.interval is None or self.interval[0] < ratio <= self.interval[1]
        return self.scale != 1 and inside

    def calls(self, ratio: float) -> int:
        """Evaluations of the network at σ/α = ratio."""
        return 2 if self.active(ratio) and self.scale != 0 else 1


def _rising(interval: tuple[float, ...]) -> bool:
    return len(interval) == 2 and 0 <= interval[0] < interval[1]


class Guided:
    """`denoise` under guidance; `null` is the condition that means none (int64 0-dim).

    t is 0-dim, the same for all images: whether to guide is decided once for the batch.
    """

    def __init__(self, denoise: Denoise, schedule: Schedule, guidance: ClassifierFree, null: Tensor) -> None:
        self.denoise, self.schedule, self.guidance, self.null = denoise, schedule, guidance, null

    def __call__(self, x: Tensor, t: Tensor, cond: Tensor | None = None) -> Prediction:
        g, level = self.guidance, self.schedule(t)
        if cond is None or not g.active(float(level.ratio)):
            return self.denoise(x, t, cond)
        null = self.null.to(cond.device).expand_as(cond)
        if g.scale == 0:
            return self.denoise(x, t, null)
        both = self.denoise(torch.cat([x, x]), t, torch.cat([cond, null]))
        c, n = both.x0.chunk(2)
        x0 = torch.lerp(n, c, g.scale)
        if g.rescale:
            x0 = _rescaled(x0, c, g.rescale)
        frac = both.frac.chunk(2)[0] if isinstance(both.frac, Tensor) else both.frac
        return Prediction(x0, eps_from(x, x0, level), frac)


def _rescaled(x0: Tensor, cond: Tensor, phi: float) -> Tensor:
    """x̂0 times a mean of 1 and the ratio of deviations, which is 1 for an image without any."""
    dims = tuple(range(1, x0.ndim))
    have, want = (z.std(dims, correction=0, keepdim=True) for z in (x0, cond))
    return x0 * torch.lerp(torch.ones_like(have), torch.where(have > 0, want / have, 1), phi)
