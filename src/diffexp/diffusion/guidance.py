"""Guidance: a denoiser made of a better one and a worse one,

    x̂0 = worse + w (better − worse),    w = 1 is the better one alone, w = 0 the worse.

Classifier-free: with the condition and with what it is to go away from (nothing, or a negative prompt),
through the network as one batch (the paper's own w' is w − 1). Autoguidance: the model, and a weaker one of
the same kind.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from diffexp.condition import Asked, Condition
from diffexp.conditioning import Conditioning
from diffexp.diffusion.denoiser import Denoise, Denoiser, Prediction
from diffexp.diffusion.schedule import Schedule
from diffexp.errors import ConfigError


class Need(NamedTuple):
    """A network that a guidance needs from a file. kind: model, one of diffexp's own, or classifier, of noisy
    images.

    ckpt: where it lies, None for the file of the model itself; ema: which average of its weights, from 0,
    None for the weights that are trained.
    """

    kind: Literal["model", "classifier"]
    ckpt: str | None = None
    ema: int | None = None


class Guide(nn.Module):
    """The denoiser of another model, which is told what its own conditioning makes of what is asked for.

    name: that under which it stands in the helpers, and its condition in `Condition.others`.
    """

    def __init__(self, name: str, denoiser: Denoiser, conditioning: Conditioning) -> None:
        super().__init__()
        self.name, self.denoiser, self.conditioning = name, denoiser, conditioning

    def condition(self, asked: Asked) -> Condition | None:
        """Return what this model is told."""
        return self.conditioning.encode(asked)

    def forward(self, x: Tensor, t: Tensor, cond: Condition | None = None) -> Prediction:
        if cond is None:
            return self.denoiser(x, t)
        if cond.others is None:
            raise ValueError(f"this condition says not what {self.name} is told: Condition(..., others=...)")
        return self.denoiser(x, t, cond.others[self.name])


class Guidable(Protocol):
    """A model as guidance sees it. helpers: what guidance has asked for in `needs`, by the same names."""

    denoiser: Denoiser

    @property
    def helpers(self) -> Mapping[str, nn.Module]: ...

    @property
    def guidable(self) -> bool:
        """Return whether it was trained with and without its condition."""
        ...


@dataclass(frozen=True)
class Guidance(ABC):
    """The base of all kinds.

    scale: w. interval: guide only while σ/α is in (low, high] (Kynkäänniemi et al. 2024), null for always.
    rescale: φ of Lin et al. 2024, which brings the standard deviation of each image's x̂0 back to that of
    the better one (0 is off, 0.7 the paper's choice). ramp: how w − 1 changes on the way, its mean over t
    kept: linear 2 (1 − t), cosine 1 + cos πt (Wang et al. 2024), both nothing where there is only noise.

    A guidance of one's own is a frozen dataclass. `weight` gives it scale, interval and ramp; rescale is for
    `wrap` to heed. At scale 1 it is off, and no condition has a `null`.
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
        """Return w at each t, float64 of its shape; 1 where there is nothing to guide."""
        u = t.double()
        shapes = {"constant": torch.ones_like(u), "linear": 2 * (1 - u), "cosine": 1 + (math.pi * u).cos()}
        w = 1 + (self.scale - 1) * shapes[self.ramp]
        if self.interval is None:
            return w
        ratio = schedule(t).ratio
        return torch.where((self.interval[0] < ratio) & (ratio <= self.interval[1]), w, 1.0)

    def calls(self, t: Tensor, schedule: Schedule) -> Tensor:
        """Return how often a network is evaluated at each t, int64 of its shape: as often as what `wrap`
        returns does it.
        """
        w = self.weight(t, schedule)
        return torch.where((w == 1) | (w == 0), 1, 2)

    def needs(self) -> Mapping[str, Need]:
        """Return what is to be read from files beside the model, by the names that it has in `helpers`: of
        a model its denoiser, of the same images and schedule, which is told what is asked for by its own
        conditioning. While a run trains, nothing is.
        """
        return {}

    @abstractmethod
    def check(self, model: Guidable) -> None:
        """Raise ConfigError for a model that cannot be guided so."""

    @abstractmethod
    def wrap(self, model: Guidable) -> Denoise:
        """Return the model's denoiser under guidance: as `Denoise`, of x, t (0-dim or (B, 1, 1, 1)) and a
        condition.
        """


def _rising(interval: tuple[float, ...]) -> bool:
    return len(interval) == 2 and 0 <= interval[0] < interval[1]


@dataclass(frozen=True)
class ClassifierFree(Guidance):
    """Guidance from the condition's `null` to the condition. Ho & Salimans 2022."""

    def check(self, model: Guidable) -> None:
        if self.scale != 1 and not model.guidable:
            do = "give guidance.scale=1, or train with conditioning=class conditioning.dropout=0.1"
            what = f"guidance.scale={self.scale:g} needs a model trained with and without its condition"
            raise ConfigError(what, "guidance.scale", do)

    def wrap(self, model: Guidable) -> Denoise:
        return Guided(model.denoiser, model.denoiser.schedule, self)


@dataclass(frozen=True)
class Autoguidance(Guidance):
    """The model away from a worse version of itself. Karras et al. 2024 ("Guiding a diffusion model with a
    bad version of itself").

    ckpt: the worse one, an earlier checkpoint or a smaller network of the same data; null for the model's
    own file. ema: which average of its weights, from 0; null for the weights that are trained.
    """

    ckpt: str | None = None
    ema: int | None = None

    def needs(self) -> Mapping[str, Need]:
        return {"guide": Need("model", self.ckpt, self.ema)}

    def check(self, model: Guidable) -> None:
        if self.scale != 1 and "guide" not in model.helpers:
            what = "autoguidance needs a worse model beside this one"
            raise ConfigError(what, "guidance.ckpt", "use it in task=sample or task=evaluate")

    def wrap(self, model: Guidable) -> Denoise:
        guide = model.helpers.get("guide")
        return Guided(model.denoiser, model.denoiser.schedule, self, guide)


class Guided:
    """`denoise` under guidance: from `guide`, or from the `null` of the condition.

    t: 0-dim, the same for all images, or (B, 1, 1, 1), each its own. Raises ValueError for a condition that
    has no null.
    """

    def __init__(
        self, denoise: Denoise, schedule: Schedule, guidance: Guidance, guide: Denoise | None = None
    ) -> None:
        self.denoise, self.schedule, self.guidance, self.guide = denoise, schedule, guidance, guide

    def __call__(self, x: Tensor, t: Tensor, cond: Condition | None = None) -> Prediction:
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

    def _pair(self, x: Tensor, t: Tensor, cond: Condition | None) -> tuple[Tensor, Tensor, Tensor | float]:
        """x0 of the better and of the worse, and frac of the better."""
        if self.guide is not None:
            p = self.denoise(x, t, cond)
            return p.x0, self.guide(x, t, cond).x0, p.frac
        assert cond is not None
        times = torch.cat([t, t]) if t.ndim else t
        both = self.denoise(torch.cat([x, x]), times, Condition.cat(cond, _null(cond)))
        c, n = both.x0.chunk(2)
        return c, n, both.frac.chunk(2)[0] if isinstance(both.frac, Tensor) else both.frac

    def _worse(self, x: Tensor, t: Tensor, cond: Condition | None) -> Prediction:
        if self.guide is not None:
            return self.guide(x, t, cond)
        assert cond is not None
        return self.denoise(x, t, _null(cond))


def _null(cond: Condition) -> Condition:
    if cond.null is None:
        raise ValueError("this condition says not what guidance goes away from: Condition(..., null=...)")
    return cond.null


def _rescaled(x0: Tensor, better: Tensor, phi: float) -> Tensor:
    """x̂0 times a mean of 1 and the ratio of deviations, which is 1 for an image without any."""
    dims = tuple(range(1, x0.ndim))
    have, want = (z.std(dims, correction=0, keepdim=True) for z in (x0, better))
    return x0 * torch.lerp(torch.ones_like(have), torch.where(have > 0, want / have, 1), phi)
