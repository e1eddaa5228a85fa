"""Guidance: a denoiser made of two others, a better one and a worse one,

    x̂0 = worse + w (better − worse),    w = 1 is the better one alone, w = 0 the worse.

Classifier-free: conditional and null, through the network as one batch (the paper's own w' is w − 1).
Autoguidance: the model, and a weaker one of the same kind.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from diffexp.diffusion.denoiser import Denoise, Prediction
from diffexp.diffusion.schedule import Schedule
from diffexp.errors import ConfigError


@dataclass(frozen=True)
class ClassifierFree:
    """Ho & Salimans 2022.

    scale: w. interval: guide only while σ/α is in (low, high] (Kynkäänniemi et al. 2024), null for always.
    rescale: φ of Lin et al. 2024, which brings the standard deviation of each image's x̂0 back to that of
    the better one (0 is off, 0.7 the paper's choice). ramp: how w − 1 changes on the way, its mean over t
    kept: linear 2 (1 − t), cosine 1 + cos πt (Wang et al. 2024), both nothing where there is only noise.
    """

    scale: float = 1.0
    interval: tuple[float, float] | None = None
    rescale: float = 0.0
    ramp: Literal["constant", "linear", "cosine"] = "constant"

    def __post_init__(self) -> None:
        if self.scale < 0:
            raise ConfigError(f"scale={self.scale}", "guidance.scale", "give 0 or more; 1 is off")
        if not 0 <= self.rescale <= 1:
            raise ConfigError(f"rescale={self.rescale}", "guidance.rescale", "give a share in [0, 1]")
        if self.interval is not None and not _rising(self.interval):
            what = f"interval={list(self.interval)}"
            raise ConfigError(what, "guidance.interval", "give [low, high] of σ/α with 0 <= low < high")

    def weight(self, t: Tensor, schedule: Schedule) -> Tensor:
        """w at each t, float64 of its shape; 1 where there is nothing to guide."""
        u = t.double()
        shapes = {"constant": torch.ones_like(u), "linear": 2 * (1 - u), "cosine": 1 + (math.pi * u).cos()}
        w = 1 + (self.scale - 1) * shapes[self.ramp]
        if self.interval is None:
            return w
        ratio = schedule(t).ratio
        return torch.where((self.interval[0] < ratio) & (ratio <= self.interval[1]), w, 1.0)

    def calls(self, t: Tensor, schedule: Schedule) -> Tensor:
        """Evaluations of a network at each t, int64 of its shape."""
        w = self.weight(t, schedule)
        return torch.where((w == 1) | (w == 0), 1, 2)


def _rising(interval: tuple[float, ...]) -> bool:
    return len(interval) == 2 and 0 <= interval[0] < interval[1]


@dataclass(frozen=True)
class Autoguidance(ClassifierFree):
    """The model away from a worse version of itself. Karras et al. 2024 ("Guiding a diffusion model with a
    bad version of itself").

    ckpt: the worse one, an earlier checkpoint or a smaller network of the same data; null for the model's
    own file. ema: which average of its weights, from 0; null for the weights that are trained.
    """

    ckpt: str | None = None
    ema: int | None = None


class Guided:
    """`denoise` under guidance: from `guide`, or from the condition `null` that means none (int64 0-dim).

    t: 0-dim, the same for all images, or (B, 1, 1, 1), each its own.
    """

    def __init__(
        self,
        denoise: Denoise,
        schedule: Schedule,
        guidance: ClassifierFree,
        null: Tensor | None = None,
        guide: Denoise | None = None,
    ) -> None:
        self.denoise, self.schedule, self.guidance, self.null, self.guide = (
            denoise, schedule, guidance, null, guide,
        )  # fmt: skip

    def __call__(self, x: Tensor, t: Tensor, cond: Tensor | None = None) -> Prediction:
        g = self.guidance
        if g.scale == 1 or (cond is None and self.guide is None):
            return self.denoise(x, t, cond)
        w = g.weight(t, self.schedule)
        if bool((w == 1).all()):
            return self.denoise(x, t, cond)
        if bool((w == 0).all()):
            return self._worse(x, t, cond)
        better, worse, frac = self._pair(x, t, cond)
        x0 = torch.lerp(worse, better, float(w) if w.ndim == 0 else w.to(x))
        if g.rescale:
            x0 = _rescaled(x0, better, g.rescale)
        return Prediction(x0, x, self.schedule(t), frac)

    def _pair(self, x: Tensor, t: Tensor, cond: Tensor | None) -> tuple[Tensor, Tensor, Tensor | float]:
        """x0 of the better and of the worse, and frac of the better."""
        if self.guide is not None:
            p = self.denoise(x, t, cond)
            return p.x0, self.guide(x, t, cond).x0, p.frac
        assert cond is not None
        times = torch.cat([t, t]) if t.ndim else t
        both = self.denoise(torch.cat([x, x]), times, torch.cat([cond, self._none(cond)]))
        c, n = both.x0.chunk(2)
        return c, n, both.frac.chunk(2)[0] if isinstance(both.frac, Tensor) else both.frac

    def _worse(self, x: Tensor, t: Tensor, cond: Tensor | None) -> Prediction:
        if self.guide is not None:
            return self.guide(x, t, cond)
        assert cond is not None
        return self.denoise(x, t, self._none(cond))

    def _none(self, cond: Tensor) -> Tensor:
        assert self.null is not None
        return self.null.to(cond.device).expand_as(cond)


def _rescaled(x0: Tensor, better: Tensor, phi: float) -> Tensor:
    """x̂0 times a mean of 1 and the ratio of deviations, which is 1 for an image without any."""
    dims = tuple(range(1, x0.ndim))
    have, want = (z.std(dims, correction=0, keepdim=True) for z in (x0, better))
    return x0 * torch.lerp(torch.ones_like(have), torch.where(have > 0, want / have, 1), phi)
