"""DPM-Solver++ SDE, single step (Crowson, k-diffusion: dpmpp_sde): a look inside each step, with noise.

With h = λ_s − λ_t and H = (1 + η) h, a step with x0 held at D is

    x_s = σ_s/σ_t e^(−ηh) x_t + α_s (1 − e^(−H)) D + σ_s √(1 − e^(−2ηh)) z.

One such step leads to λ_t + r h, where D' is predicted; the other, from t again, to s with
D = (1 − 1/2r) x0 + (1/2r) x0'. The noise of both is that of one Brownian path.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from diffexp.diffusion.schedule import Level, Schedule
from diffexp.errors import ConfigError
from diffexp.randomness import Draws
from diffexp.samplers.brownian import Brownian
from diffexp.samplers.grid import GridTimes
from diffexp.samplers.table import Row, Stage, Step, Tabled, ddim, has_signal, middle


def held(at: Level, to: Level, eta: float, shares: tuple[float, ...] = (1.0,)) -> Row:
    """The step above; x0 is the sum of shares of the predictions, the newest first."""
    h = to.lam - at.lam
    fade = (-eta * h).exp()
    phi = 1 - (at.alpha * to.sigma / (to.alpha * at.sigma)) ** (1 + eta)
    weights = tuple(float(to.alpha * phi * share) for share in shares)
    return Row(float(to.sigma / at.sigma * fade), weights, std=float(to.sigma * (1 - fade**2).sqrt()))


@dataclass(frozen=True, kw_only=True)
class DPMSolverSDE(Tabled):
    """Two network calls a step but the last, which gives x0. A start from above σ/α = 200 is DDIM's.

    eta: 0 for the ODE, 1 for the SDE; r: where the look is.
    """

    spacing: GridTimes = "karras"
    eta: float = 1.0
    r: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.eta < 0 or not 0 < self.r < 1:
            what = f"eta={self.eta}, r={self.r}"
            raise ConfigError(what, "sampler", "give eta of 0 or more, and r between 0 and 1")

    def fresh(self, schedule: Schedule, noise: Draws) -> Callable[[int, Tensor, Tensor], Tensor]:
        path = Brownian(schedule, noise, self.eta)
        return lambda k, t, s: path(t, s)

    def table(self, schedule: Schedule) -> list[Step]:
        steps = list[Step]()
        for _, t, s in self.pairs(schedule):
            at, to = schedule(t), schedule(s)
            if s == 0 or not has_signal(at):
                steps.append(Step(t, s, ddim(at, to)))
                continue
            look = middle(at, to, self.r, schedule)
            share = 1 / (2 * self.r)
            stage = Stage(held(at, schedule(look), self.eta), look)
            steps.append(Step(t, s, held(at, to, self.eta, (share, 1 - share)), (stage,)))
        return steps
