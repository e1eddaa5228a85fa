"""Keeping x̂0 inside the range of the data, after guidance; ε is derived again so that x = α x0 + σ ε holds.

With few steps or little signal x̂0 leaves [−1, 1] (on a cosine schedule eps-prediction divides by α ≈ 0),
and what leaves it grows from step to step.
"""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from diffexp.condition import Condition
from diffexp.diffusion.denoiser import Denoise, Prediction
from diffexp.diffusion.schedule import Schedule
from diffexp.errors import ConfigError


class Clip(Protocol):
    """x̂0 (B, C, H, W) to x̂0 of the same shape."""

    def __call__(self, x0: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class NoClip:
    """x̂0 as it is."""

    def __call__(self, x0: Tensor) -> Tensor:
        return x0


@dataclass(frozen=True)
class Static:
    """Clamp to [−bound, bound]. Ho et al. 2020 (code)."""

    bound: float = 1.0

    def __post_init__(self) -> None:
        if not self.bound > 0:
            raise ConfigError(f"bound={self.bound}", "clip.bound", "give a positive number")

    def __call__(self, x0: Tensor) -> Tensor:
        return x0.clamp(-self.bound, self.bound)


@dataclass(frozen=True)
class Dynamic:
    """Clamp to the quantile s ≥ 1 of |x̂0| of each image, then divide by s. Saharia et al. 2022 (Imagen)."""

    quantile: float = 0.995

    def __post_init__(self) -> None:
        if not 0 < self.quantile <= 1:
            raise ConfigError(f"quantile={self.quantile}", "clip.quantile", "give a share in (0, 1]")

    def __call__(self, x0: Tensor) -> Tensor:
        s = _bound(x0, self.quantile)
        return x0.clamp(-s, s) / s


@dataclass(frozen=True)
class Quantile:
    """Clamp to the quantile s ≥ 1 of |x̂0| of each image: what is left of Dynamic where x has no range."""

    quantile: float = 0.995

    def __call__(self, x0: Tensor) -> Tensor:
        s = _bound(x0, self.quantile)
        return x0.clamp(-s, s)


def _bound(x0: Tensor, quantile: float) -> Tensor:
    s = x0.abs().flatten(1).quantile(quantile, dim=1).clamp(min=1)
    return s.view(-1, *[1] * (x0.ndim - 1))


class Clipped:
    """A denoiser whose x0 is clipped."""

    def __init__(self, denoise: Denoise, schedule: Schedule, clip: Clip) -> None:
        self.denoise, self.schedule, self.clip = denoise, schedule, clip

    def __call__(self, x: Tensor, t: Tensor, cond: Condition | None = None) -> Prediction:
        p = self.denoise(x, t, cond)
        if isinstance(self.clip, NoClip):
            return p
        x0 = self.clip(p.x0)
        return Prediction(x0, x, p.level, p.frac)
