"""Guidance towards another run."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from diffexp.condition import Condition
from diffexp.diffusion import Guidance, Prediction
from diffexp.diffusion.denoiser import Denoise
from diffexp.diffusion.guidance import Guidable, Need
from diffexp.errors import ConfigError


@dataclass(frozen=True)
class Towards(Guidance):
    """x̂0 = a + (w − 1) (b − a): at w = 2 that of the other run, in between of both. ckpt: the other."""

    ckpt: str | None = None

    def needs(self) -> Mapping[str, Need]:
        return {"other": Need("model", self.ckpt, ema=0)}

    def check(self, model: Guidable) -> None:
        if self.scale != 1 and "other" not in model.helpers:
            raise ConfigError("there is no other run while it trains", "guidance.scale", "give 1")

    def wrap(self, model: Guidable) -> Denoise:
        plain, schedule, other = model.denoiser, model.denoiser.schedule, model.helpers.get("other")

        def denoise(x: Tensor, t: Tensor, cond: Condition | None = None) -> Prediction:
            p, w = plain(x, t, cond), self.weight(t, schedule)
            if other is None or bool((w == 1).all()):
                return p
            return Prediction(p.x0 + (w - 1).to(x) * (other(x, t, cond).x0 - p.x0), x, schedule(t), p.frac)

        return denoise
