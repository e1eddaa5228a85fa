"""Methods of which a step is a weighted sum of x and of the last predictions,

    x_s = keep x_t + Σ_j weights_j q_j + std z,       q = x0 or ε, the newest first.

A method is a rule for the weights. They depend on the times alone, so each grid has one table of them,
made in float64, kept, and applied in x's own precision. One network call a step. With a corrector, the
prediction at the end of a step, which the next step needs anyway, first mends the step before (the idea of
UniC, Zhao et al. 2023).
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

from torch import Tensor

from diffexp.diffusion.denoiser import Denoise, Prediction
from diffexp.diffusion.schedule import Level, Schedule
from diffexp.samplers.sampler import Noise, Sampler


class Row(NamedTuple):
    """One step. Predictions without a weight are not used."""

    keep: float
    weights: tuple[float, ...]
    hold: Literal["x0", "eps"] = "x0"
    std: float = 0.0

    def __call__(self, x: Tensor, known: Sequence[Prediction]) -> Tensor:
        y = self.keep * x
        for w, p in zip(self.weights, known, strict=False):
            y = y.add_(p.x0 if self.hold == "x0" else p.eps, alpha=w)
        return y


def ddim(at: Level, to: Level) -> Row:
    """DDIM's step with x0 held, which can begin without signal and ends in x0."""
    keep = float(to.sigma / at.sigma)
    return Row(keep, (float(to.alpha - at.alpha * to.sigma / at.sigma),))


@dataclass(frozen=True, kw_only=True)
class Tabled(Sampler):
    """A sampler whose steps are rows of a table."""

    @property
    def reach(self) -> int:
        """How many predictions a step sees, at most; at the start there are fewer."""
        return 1

    @abstractmethod
    def row(self, schedule: Schedule, known: Sequence[Tensor], s: Tensor) -> Row:
        """The step from known[0] to s, of predictions at the times `known`, the last first."""

    def mend(self, schedule: Schedule, known: Sequence[Tensor], s: Tensor) -> Row | None:
        """The same step when the prediction at s is there too, and has the first weight; None: as it was."""
        return None

    def fresh(self, schedule: Schedule, noise: Noise) -> Callable[[int, Tensor, Tensor], Tensor]:
        """Unit noise for the k-th step, t → s."""
        return lambda k, t, s: noise(k)

    def run(
        self, denoise: Denoise, schedule: Schedule, noise: Noise, cond: Tensor | None = None
    ) -> Iterator[tuple[Tensor, Prediction]]:
        x, known, fresh = noise(0), list[Prediction](), self.fresh(schedule, noise)
        start = x
        for (k, t, s), (mend, move) in zip(self.pairs(schedule), table(self, schedule), strict=True):
            p = denoise(x, t, cond)
            known = [p, *known][: self.reach + 1]
            start = x if mend is None else mend(start, known)
            x = move(start, known)
            if move.std:
                x = x.add_(fresh(k, t, s), alpha=move.std)
            yield x, p


@dataclass(frozen=True, kw_only=True)
class Multistep(Tabled):
    """order: of the method, and the number of predictions that a step sees."""

    order: int = 2

    @property
    def reach(self) -> int:
        return self.order


@lru_cache(maxsize=32)
def table(sampler: Tabled, schedule: Schedule) -> list[tuple[Row | None, Row]]:
    """For each step, how to mend the one before, and how to go on."""
    times, rows = sampler.grid(schedule), list[tuple[Row | None, Row]]()
    mend = None
    for k in range(len(times) - 1):
        known = times[max(0, k + 1 - sampler.reach) : k + 1].flip(0).unbind()
        rows.append((mend, sampler.row(schedule, known, times[k + 1])))
        mend = sampler.mend(schedule, known, times[k + 1])
    return rows
