"""Samplers as tables: a step is a few weighted sums of x and of predictions, and their weights depend on the
times alone. So each grid has one table of them, made in float64, kept, and applied in x's own precision.

A row of a table is

    y = keep x + Σ_j weights_j q_j + std z,       q = x0 or ε, the newest prediction first.

A method is a rule for the rows. What it does with them is always the same (`Tabled.run`): it may raise x by
fresh noise, predicts, may mend the step before with that prediction, may look at stages inside the step, and
goes on.
"""

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from diffexp.condition import Condition
from diffexp.diffusion.denoiser import Denoise, Prediction
from diffexp.diffusion.schedule import Level, Schedule
from diffexp.randomness import Draws
from diffexp.samplers.grid import RATIO_MAX
from diffexp.samplers.sampler import GridSampler


class Row(NamedTuple):
    """One weighted sum. Predictions without a weight are not used; bounds: log var at frac = −1 and 1."""

    keep: float
    weights: tuple[float, ...] = ()
    hold: Literal["x0", "eps"] = "x0"
    std: float = 0.0
    bounds: tuple[float, float] | None = None

    def __call__(self, x: Tensor, known: Sequence[Prediction] = ()) -> Tensor:
        y = self.keep * x
        for w, p in zip(self.weights, known, strict=False):
            y = y.add_(p.x0 if self.hold == "x0" else p.eps, alpha=w)
        return y

    def noisy(self, x: Tensor, known: Sequence[Prediction], draw: Callable[[], Tensor]) -> Tensor:
        """The same, with its noise."""
        y = self(x, known)
        if self.bounds is not None:
            (low, high), frac = self.bounds, known[0].frac
            if isinstance(frac, Tensor):
                half = (
                    torch.lerp(frac.new_tensor(low), frac.new_tensor(high), (frac.clamp(-1, 1) + 1) / 2) / 2
                )
                return y.add_(half.exp() * draw())
            return y.add_(draw(), alpha=math.exp((low + (high - low) * (frac + 1) / 2) / 2))
        return y.add_(draw(), alpha=self.std) if self.std else y


class Stage(NamedTuple):
    """A look at time t, at the point that `row` leads to."""

    row: Row
    t: Tensor


class Step(NamedTuple):
    """t → s. `stages`: looks inside the step; `lift`: what raises x to t first; `mend`: the step before
    once more, with the prediction at t as the newest.
    """

    t: Tensor
    s: Tensor
    row: Row
    stages: tuple[Stage, ...] = ()
    lift: Row | None = None
    mend: Row | None = None


def has_signal(level: Level) -> bool:
    """Return whether a step from here can be made of ε.

    Above σ/α = 200 its error is too much magnified in x/α.
    """
    return float(level.ratio) <= RATIO_MAX * (1 + 1e-9)


def ddim(at: Level, to: Level) -> Row:
    """DDIM's step with x0 held: x_s = (σ_s/σ_t) x_t + (α_s − α_t σ_s/σ_t) x0. It can begin without signal,
    and ends in x0.
    """
    keep = float(to.sigma / at.sigma)
    return Row(keep, (float(to.alpha - at.alpha * to.sigma / at.sigma),))


def by_eps(at: Level, to: Level, *shares: float, std: float = 0.0) -> Row:
    """ε held over the step: x_s = (α_s/α_t) x_t + (σ_s − σ_t α_s/α_t) Σ shares ε; α_t > 0."""
    keep = to.alpha / at.alpha
    weight = float(to.sigma - at.sigma * keep)
    return Row(float(keep), tuple(weight * share for share in shares), "eps", std)


@dataclass(frozen=True, kw_only=True)
class Tabled(GridSampler):
    """A sampler whose steps are rows of a table."""

    @abstractmethod
    def table(self, schedule: Schedule) -> list[Step]:
        """All steps, in order."""

    @property
    def reach(self) -> int:
        """Return how many predictions a row uses, at most."""
        return 1

    def fresh(self, schedule: Schedule, noise: Draws) -> Callable[[int, Tensor, Tensor], Tensor]:
        """Unit noise of the k-th draw, for t → s."""
        return lambda k, t, s: noise(k)

    def run(
        self, denoise: Denoise, schedule: Schedule, noise: Draws, cond: Condition | None = None
    ) -> Iterator[tuple[Tensor, Prediction]]:
        x, known, fresh, drawn = noise(0), list[Prediction](), self.fresh(schedule, noise), 0
        start = x

        def draw(t: Tensor, s: Tensor) -> Callable[[], Tensor]:
            def now() -> Tensor:
                nonlocal drawn
                drawn += 1
                return fresh(drawn, t, s)

            return now

        for t, s, row, stages, lift, mend in _table(self, schedule):
            if lift is not None:
                x = lift.noisy(x, known, draw(t, s))
            p = denoise(x, t, cond)
            known = [p, *known][: self.reach + 1]
            start = x if mend is None else mend(start, known)
            looks = known
            for stage in stages:
                y = stage.row.noisy(start, looks, draw(t, stage.t))
                looks = [denoise(y, stage.t, cond), *looks]
            x = row.noisy(start, looks, draw(t, s))
            yield x, p


@lru_cache(maxsize=32)
def _table(sampler: Tabled, schedule: Schedule) -> list[Step]:
    return sampler.table(schedule)


@dataclass(frozen=True, kw_only=True)
class OneCall(Tabled):
    """One network call a step; a rule for the row of one step."""

    @abstractmethod
    def row(self, schedule: Schedule, known: Sequence[Tensor], s: Tensor) -> Row:
        """The step from known[0] to s, of predictions at the times `known`, the last first."""

    def mend(self, schedule: Schedule, known: Sequence[Tensor], s: Tensor) -> Row | None:
        """The same step when the prediction at s is there too, and has the first weight; None: as it was."""
        return None

    def table(self, schedule: Schedule) -> list[Step]:
        times, steps, mend = self.grid(schedule), list[Step](), None
        for k in range(len(times) - 1):
            known = times[max(0, k + 1 - self.reach) : k + 1].flip(0).unbind()
            t, s = times[k], times[k + 1]
            steps.append(Step(t, s, self.row(schedule, known, s), mend=mend))
            mend = self.mend(schedule, known, s)
        return steps


@dataclass(frozen=True, kw_only=True)
class Multistep(OneCall):
    """order: of the method, and the number of predictions that a step sees; at the start there are fewer."""

    order: int = 2

    @property
    def reach(self) -> int:
        return self.order


def middle(a: Level, b: Level, share: float, schedule: Schedule) -> Tensor:
    """The time at that share of the way from a to b in λ = log α/σ."""
    return schedule.time((-torch.lerp(a.lam, b.lam, share)).exp().atan())
