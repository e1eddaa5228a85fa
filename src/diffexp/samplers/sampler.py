"""What a sampler is: a loop over pairs of times, from noise to data,

    for x, prediction in sampler.run(denoise, schedule, noise, cond): ...

It sees a denoiser and a schedule, nothing of networks, losses or data. What it remembers from step to step
are local variables; whoever iterates has the trajectory, the progress, and may stop early.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from diffexp.diffusion.denoiser import Denoise, Prediction
from diffexp.diffusion.schedule import Schedule
from diffexp.errors import ConfigError
from diffexp.samplers.grid import Spacing, grid

Noise = Callable[[int], Tensor]
"""noise(0) is x at the noisiest time, noise(k) what the k-th step adds; (B, C, H, W)."""


@dataclass(frozen=True, kw_only=True)
class Sampler(ABC):
    """steps: of the grid; spacing, snap: which times (grid.py). Raises ConfigError for steps < 1."""

    steps: int = 50
    spacing: Spacing = "trailing"
    snap: bool | None = None

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ConfigError(f"sampler.steps={self.steps} is no step", "sampler.steps", "give 1 or more")

    def grid(self, schedule: Schedule) -> Tensor:
        """Decreasing times, float64, the last 0. Raises ConfigError where they do not fit the schedule."""
        return grid(schedule, self.steps, self.spacing, self.snap)

    def calls(self, schedule: Schedule) -> Tensor:
        """The times at which the denoiser is called, one for each call."""
        return self.grid(schedule)[:-1]

    def pairs(self, schedule: Schedule) -> Iterator[tuple[int, Tensor, Tensor]]:
        """(k, t, s) for the k-th step, t → s, from k = 1."""
        return ((k, t, s) for k, (t, s) in enumerate(pairwise(self.grid(schedule)), 1))

    @abstractmethod
    def run(
        self, denoise: Denoise, schedule: Schedule, noise: Noise, cond: Tensor | None = None
    ) -> Iterator[tuple[Tensor, Prediction]]:
        """Yields x after each step, and the prediction that the step was made with."""

    def sample(
        self, denoise: Denoise, schedule: Schedule, noise: Noise, cond: Tensor | None = None
    ) -> Tensor:
        """x after the last step, (B, C, H, W)."""
        last = deque(self.run(denoise, schedule, noise, cond), maxlen=1)
        return last[0][0]
