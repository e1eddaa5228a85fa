"""Guidance by what is new in the condition alone."""

from dataclasses import dataclass

import torch
from torch import Tensor

from diffexp.condition import Condition
from diffexp.diffusion import Guidance, Prediction, Schedule
from diffexp.diffusion.denoiser import Denoise
from diffexp.diffusion.guidance import Guidable
from diffexp.errors import ConfigError


@dataclass(frozen=True)
class Perpendicular(Guidance):
    """x̂0 = c + (w − 1) (d − its part along c), d = c − n: of each image. Sadat et al. 2024."""

    def check(self, model: Guidable) -> None:
        if self.scale != 1 and not model.guidable:
            do = "type guidance.scale=1, or train with dropout"
            raise ConfigError("this model was not trained without its condition", "guidance.scale", do)

    def calls(self, t: Tensor, schedule: Schedule) -> Tensor:
        return torch.where(self.weight(t, schedule) == 1, 1, 2)

    def wrap(self, model: Guidable) -> Denoise:
        plain, schedule = model.denoiser, model.denoiser.schedule

        def denoise(x: Tensor, t: Tensor, cond: Condition | None = None) -> Prediction:
            w = self.weight(t, schedule)
            if cond is None or cond.null is None or bool((w == 1).all()):
                return plain(x, t, cond)
            p = plain(x, t, cond)
            d = p.x0 - plain(x, t, cond.null).x0
            along = (d * p.x0).sum((1, 2, 3), True) / p.x0.square().sum((1, 2, 3), True)
            return Prediction(p.x0 + (w - 1).to(x) * (d - along * p.x0), x, schedule(t), p.frac)

        return denoise
