"""The midpoint rule in log σ/α: DPM-Solver-2 in the form of Karras et al. 2022 (k-diffusion's dpm_2)."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from diffexp.diffusion.denoiser import Denoise, Prediction
from diffexp.diffusion.schedule import Schedule
from diffexp.errors import ConfigError
from diffexp.samplers.grid import Spacing
from diffexp.samplers.sampler import Noise, Sampler
from diffexp.samplers.transfer import by_eps, by_prediction, has_signal


@dataclass(frozen=True, kw_only=True)
class Midpoint(Sampler):
    """Second order, two network calls a step but the last.

    eta: the share of the ancestral step's noise; 0 for the ODE, 1 for dpm_2_ancestral, where the step goes
    below s and noise brings it back. Steps from above σ/α = 80 are those of DDIM.
    """

    spacing: Spacing = "karras"
    eta: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.eta <= 1:
            raise ConfigError(f"eta={self.eta}", "sampler.eta", "give a share in [0, 1]")

    def _below(self, schedule: Schedule, s: Tensor, t: Tensor) -> Tensor:
        """The time from which noise leads up to s."""
        if not self.eta:
            return s
        to, at = schedule(s).ratio, schedule(t).ratio
        share = (to / at) ** 2 if at.isfinite() else torch.zeros(())
        return schedule.time((to * (1 - self.eta**2 * (1 - share)).clamp(min=0).sqrt()).atan())

    def _middle(self, schedule: Schedule, down: Tensor, t: Tensor) -> Tensor | None:
        at, to = schedule(t), schedule(down)
        if down == 0 or not has_signal(at):
            return None
        return schedule.time((at.ratio * to.ratio).sqrt().atan())

    def calls(self, schedule: Schedule) -> Tensor:
        times = []
        for _, t, s in self.pairs(schedule):
            middle = self._middle(schedule, self._below(schedule, s, t), t)
            times += [t] if middle is None else [t, middle]
        return torch.stack(times)

    def run(
        self, denoise: Denoise, schedule: Schedule, noise: Noise, cond: Tensor | None = None
    ) -> Iterator[tuple[Tensor, Prediction]]:
        x = noise(0)
        for k, t, s in self.pairs(schedule):
            p, at = denoise(x, t, cond), schedule(t)
            down = self._below(schedule, s, t)
            low, middle = schedule(down), self._middle(schedule, down, t)
            y = by_prediction(p, low)
            if middle is not None:
                half = by_prediction(p, schedule(middle))
                y = by_eps(x, denoise(half, middle, cond).eps, at, low)
            if down < s:
                to = schedule(s)
                y = to.alpha / low.alpha * y
                y = y + to.alpha * (to.ratio**2 - low.ratio**2).sqrt() * noise(k)
            x = y
            yield x, p
