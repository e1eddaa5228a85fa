"""What a sampler is: a loop over times, from noise to data,

    for x, prediction in sampler.run(denoise, schedule, noise, cond): ...

It sees a denoiser and a schedule, nothing of networks, losses or data. What it remembers from step to step
are local variables; whoever iterates has the trajectory, the progress, and may stop early.
"""

import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from diffexp.condition import Condition
from diffexp.diffusion.denoiser import Denoise, Prediction
from diffexp.diffusion.schedule import Schedule
from diffexp.errors import ConfigError, check_at_most
from diffexp.randomness import Draws
from diffexp.samplers import positions
from diffexp.samplers.grid import GridTimes, time_grid

MOST_STEPS = 100_000


class Sampler(ABC):
    """The base of all samplers."""

    @abstractmethod
    def grid(self, schedule: Schedule) -> Tensor:
        """Decreasing times, float64, the last 0. Raises ConfigError where they do not fit the schedule."""

    @abstractmethod
    def run(
        self, denoise: Denoise, schedule: Schedule, noise: Draws, cond: Condition | None = None
    ) -> Iterator[tuple[Tensor, Prediction]]:
        """Yield x after each step, (B, C, H, W), and the prediction that the step began with.

        noise(0): x at the noisiest time; noise(k): the k-th draw after it.
        """

    def sample(
        self, denoise: Denoise, schedule: Schedule, noise: Draws, cond: Condition | None = None
    ) -> Tensor:
        """x after the last step, (B, C, H, W)."""
        last = deque(self.run(denoise, schedule, noise, cond), maxlen=1)
        return last[0][0]

    def calls(self, schedule: Schedule) -> Tensor:
        """The times at which the denoiser is called, (calls,): found by a run on one pixel, which is black.

        Only an adaptive sampler makes another number of calls for another image.
        """
        seen = list[Tensor]()

        def denoise(x: Tensor, t: Tensor, cond: Condition | None = None) -> Prediction:
            seen.append(t.flatten()[0])
            return Prediction(torch.zeros_like(x), x, schedule(t))

        pixel = torch.zeros(1, 1, 1, 1, dtype=torch.float64)
        self.sample(denoise, schedule, lambda k: pixel)
        return torch.stack(seen)


@dataclass(frozen=True, kw_only=True)
class GridSampler(Sampler):
    """steps: of the grid; spacing, snap, end, sections, shift: which times (grid.py). A spacing typed by
    hand, and sections, have the steps that they have. shift: "auto" for the size of the images that are
    asked for (task.size), 1 where that is the size of the training. Raises ConfigError for steps < 1, for
    positions that are not finite numbers that decrease, and for a shift that is none.
    """

    steps: int = 50
    spacing: GridTimes = "trailing"
    snap: bool | None = None
    end: Literal["zero", "first"] = "zero"
    sections: tuple[int, ...] | None = None
    shift: float | Literal["auto"] = 1.0

    def __post_init__(self) -> None:
        if self.sections is not None:
            object.__setattr__(self, "steps", sum(self.sections))
        elif not isinstance(self.spacing, str):
            object.__setattr__(self, "steps", len(positions.numbers(self.spacing)))
        if self.steps < 1:
            raise ConfigError(f"sampler.steps={self.steps} is no step", "sampler.steps", "give 1 or more")
        check_at_most(MOST_STEPS, "sampler", steps=self.steps)
        number = self.shift if isinstance(self.shift, int | float) else 1.0 if self.shift == "auto" else 0.0
        if not 0 < number < math.inf:
            do = "type a positive number, √(pixels / those of the training) or so, or auto"
            raise ConfigError(f"sampler.shift={self.shift}", "sampler.shift", do)

    def grid(self, schedule: Schedule) -> Tensor:
        return self.times(schedule, self.steps)

    def times(self, schedule: Schedule, steps: int) -> Tensor:
        """The grid of so many steps."""
        shift = 1.0 if self.shift == "auto" else self.shift
        return time_grid(schedule, steps, self.spacing, self.snap, self.end, self.sections, shift=shift)

    def pairs(self, schedule: Schedule) -> Iterator[tuple[int, Tensor, Tensor]]:
        """(k, t, s) for the k-th step, t → s, from k = 1."""
        return ((k, t, s) for k, (t, s) in enumerate(pairwise(self.grid(schedule)), 1))


def check_start(schedule: Schedule, sampler: Sampler) -> None:
    """Raises ConfigError for a grid that does not fit the schedule, or begins far from noise."""
    by_hand = isinstance(sampler, GridSampler) and not isinstance(sampler.spacing, str)
    positions.check_start(schedule, sampler.grid(schedule), by_hand)
