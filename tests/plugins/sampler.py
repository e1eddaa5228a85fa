"""Predict the image, and make it noisy anew."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from diffexp.condition import Condition
from diffexp.diffusion import Prediction, Schedule
from diffexp.diffusion.denoiser import Denoise
from diffexp.randomness import Draws
from diffexp.samplers import GridSampler


@dataclass(frozen=True, kw_only=True)
class Renoise(GridSampler):
    """kept: the share of the predicted noise that stays; the rest is fresh."""

    kept: float = 0.0

    def run(
        self, denoise: Denoise, schedule: Schedule, noise: Draws, cond: Condition | None = None
    ) -> Iterator[tuple[Tensor, Prediction]]:
        x = noise(0)
        for k, t, s in self.pairs(schedule):  # t → s, the last s is 0
            p, to = denoise(x, t, cond), schedule(s)
            mixed = self.kept * p.eps + (1 - self.kept**2) ** 0.5 * noise(k)
            x = to.alpha * p.x0 + to.sigma * mixed
            yield x, p
