"""task=selftest: check numbers that are known in closed form, on this machine, in less than a minute."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from diffexp.diffusion import (
    EDM,
    X0,
    Denoiser,
    Eps,
    FixedSmall,
    Gaussian,
    LearnedRange,
    Schedule,
    V,
    bound,
    cosine,
    linear,
    sigmoid,
    with_snr,
)
from diffexp.diffusion.prediction import Parameterization
from diffexp.diffusion.variance import Variance, log_variance
from diffexp.errors import DiffexpError
from diffexp.run.folder import Record
from diffexp.run.job import Job, Task
from diffexp.samplers import (
    DDIM,
    DDPM,
    Adams,
    DPMSolver,
    DPMSolverPP,
    DPMSolverSDE,
    GridSampler,
    Heun,
    Midpoint,
    Restart,
    UniPC,
)

MEAN, STD = 0.2, 0.5
SCHEDULES = {
    "linear": linear(),
    "cosine": cosine(),
    "sigmoid": sigmoid(),
    "zero SNR": with_snr(linear(), zero_terminal=True),
}
ORDERS: dict[str, tuple[GridSampler, int]] = {
    "ddim": (DDIM(spacing="logsnr"), 1),
    "heun": (Heun(spacing="logsnr"), 2),
    "dpm_2": (Midpoint(spacing="logsnr"), 2),
    "dpm_solver 2": (DPMSolver(order=2), 2),
    "dpm_solver 3": (DPMSolver(order=3), 3),
    "dpm_solver++ 2M": (DPMSolverPP(spacing="logsnr"), 2),
    "lms 3": (Adams(order=3, hold="eps", of="ratio"), 3),
    "adams 2": (Adams(order=2), 2),
    "adams 2, corrected": (Adams(order=2, corrector=True), 3),
    "unipc 2": (UniPC(order=2, spacing="logsnr"), 3),
}


class Check(NamedTuple):
    """A number and what it should be; within: of it."""

    name: str
    found: float
    wanted: float
    within: float

    @property
    def good(self) -> bool:
        return abs(self.found - self.wanted) <= self.within


@dataclass(frozen=True)
class SelfTest(Task):
    """Identities, orders, the bound and the moments of samples, each against a closed form."""

    tracked: ClassVar[bool] = False

    def check(self, job: Job) -> None:
        """Do nothing: nothing can be wrong beforehand."""

    def run(self, job: Job, record: Record) -> None:
        table = Table(title="closed forms", title_justify="left")
        for column in ("check", "found", "wanted", "within", ""):
            table.add_column(column)
        checks = list(all_checks())
        for c in checks:
            verdict = "good" if c.good else "[bold red]WRONG[/]"
            table.add_row(c.name, f"{c.found:.9g}", f"{c.wanted:.9g}", f"{c.within:.1g}", verdict)
        Console().print(table)
        record.results |= {"checks": [c._asdict() for c in checks], "good": sum(c.good for c in checks)}
        wrong = [c.name for c in checks if not c.good]
        if wrong:
            do = "report it, with run.json: it names the versions and the machine"
            raise DiffexpError(f"{len(wrong)} of {len(checks)} checks are wrong: {', '.join(wrong)}", "", do)
        print(f"all {len(checks)} checks are good")


def all_checks() -> Iterator[Check]:
    """Yield the checks one after the other."""
    for part in (_schedules, _predictions, _identities, _orders, _bound, _moments):
        yield from part()


def _denoiser(
    schedule: Schedule, prediction: Parameterization | None = None, variance: Variance | None = None
) -> Denoiser:
    prediction, variance = prediction or V(), variance or FixedSmall()
    network = Gaussian(schedule, prediction, variance, MEAN, STD)
    return Denoiser(network, schedule, prediction, variance)


def _noise(*shape: int) -> Callable[[int], Tensor]:
    def draw(k: int) -> Tensor:
        return torch.randn(shape, generator=torch.Generator().manual_seed(k), dtype=torch.float64)

    return draw


def _schedules() -> Iterator[Check]:
    for name, schedule in SCHEDULES.items():
        t = torch.linspace(0, 1, 2001, dtype=torch.float64)
        level, s = schedule(t), t[1:] * 0.7
        yield Check(f"{name}: α² + σ² − 1", _far(level.alpha**2 + level.sigma**2, torch.ones(())), 0, 1e-12)
        # Bayes' rule: precision of x_s from x0 and from x_t
        q, low, high = schedule.posterior(s, t[1:]), schedule(s), schedule(t[1:])
        gain = high.alpha / low.alpha
        precision = 1 / low.sigma**2 + gain**2 / q.beta
        yield Check(f"{name}: posterior by Bayes' rule", _far(q.var * precision, torch.ones(())), 0, 1e-9)


def _predictions() -> Iterator[Check]:
    schedule, noise = cosine(), _noise(4, 1, 4, 4)
    ends = [DDIM(steps=20).sample(_denoiser(schedule, p), schedule, noise) for p in (X0(), Eps(), V(), EDM())]
    for name, x in zip(("eps", "v", "edm"), ends[1:], strict=True):
        yield Check(f"the same samples from {name} as from x0", _far(x, ends[0]), 0, 1e-6)


def _identities() -> Iterator[Check]:
    schedule, noise = cosine(), _noise(4, 1, 4, 4)
    denoiser = _denoiser(schedule)

    def far(a: GridSampler, b: GridSampler) -> float:
        return _far(a.sample(denoiser, schedule, noise), b.sample(denoiser, schedule, noise))

    small = DDPM(steps=25, variance="fixed_small")
    for name, a, b in (
        ("DDIM(η = 1) is DDPM", DDIM(steps=25, eta=1.0), small),
        ("DPM-Solver++(1) is DDIM", DPMSolverPP(steps=25, order=1), DDIM(steps=25)),
        ("its SDE of order 1 is DDPM", DPMSolverPP(steps=25, order=1, eta=1.0), small),
        ("Adams of order 1 is DDIM", Adams(steps=25, order=1, spacing="trailing"), DDIM(steps=25)),
        ("Heun without churn is Heun", Heun(steps=9, s_churn=0.0, s_noise=2.0), Heun(steps=9)),
        ("Restart without restarts is Heun", Restart(steps=9, restarts=()), Heun(steps=9)),
        (
            "DPM-Solver++ SDE at η = 0 is 2S",
            DPMSolverSDE(steps=7, eta=0.0, spacing="logsnr"),
            DPMSolver(steps=13, order=2, hold="x0"),
        ),
    ):
        yield Check(name, far(a, b), 0, 1e-11)


def _orders() -> Iterator[Check]:
    """Check the orders before the step to the end, where λ is infinite and all methods take x0."""
    schedule, noise = linear(), _noise(4, 1, 2, 2)
    denoiser = _denoiser(schedule)

    def error(sampler: GridSampler) -> float:
        *_, x = (x for x, _ in list(sampler.run(denoiser, schedule, noise))[:-1])
        times = sampler.grid(schedule)
        at, to = schedule(times[0]), schedule(times[-2])
        spread = [(u.alpha**2 * STD**2 + u.sigma**2).sqrt() for u in (at, to)]
        exact = to.alpha * MEAN + (noise(0) - at.alpha * MEAN) * spread[1] / spread[0]
        return float((x - exact).square().mean().sqrt())

    for name, (sampler, order) in ORDERS.items():
        steps = (162, 324) if isinstance(sampler, DPMSolver) else (80, 160)
        a, b = (error(replace(sampler, steps=n)) for n in steps)
        yield Check(f"order of {name}", math.log2(a / b), order, 0.2)


def _bound() -> Iterator[Check]:
    """Check the bound of the optimal mean in nats; the references were computed apart."""
    for name, schedule, frac, nats in (
        ("linear, large variance", linear(), 1.0, 0.840461911),
        ("linear, small variance", linear(), -1.0, 1.295718091),
        ("cosine, large variance", cosine(), 1.0, 0.854164061),
        ("cosine, small variance", cosine(), -1.0, 1.255784774),
    ):
        yield Check(f"bound of a Gaussian, {name}", _nats(schedule, frac), nats, 2e-9)


def _nats(schedule: Schedule, frac: float) -> float:
    i = torch.arange(1, schedule.T + 1, dtype=torch.float64).view(-1, 1, 1, 1)
    t, level = i / schedule.T, schedule(i / schedule.T)
    unknown = STD**2 * level.sigma**2 / (level.alpha**2 * STD**2 + level.sigma**2)
    error = unknown.sqrt()  # the divergence is quadratic in the error: its mean is its value there
    steps = bound.step(schedule, torch.zeros_like(error), error, t, frac) * math.log(2)
    log_var = log_variance(schedule, t - 1 / schedule.T, t, frac)[0].squeeze()
    first = 0.5 * (math.log(2 * math.pi) + log_var + unknown[0].squeeze() / log_var.exp())
    end = schedule(torch.ones((), dtype=torch.float64))
    last = 0.5 * (end.alpha**2 * (MEAN**2 + STD**2) + end.sigma**2 - 1 - 2 * end.sigma.log())
    return float(first + steps[1:].sum() + last)


def _moments() -> Iterator[Check]:
    """Check that samples with the optimal variance have the mean and variance of the data, at any T."""
    schedule, n = linear(100), 40_000
    x = DDPM(steps=100).sample(_denoiser(schedule, V(), LearnedRange()), schedule, _noise(1, 1, n, 1))
    yield Check("mean of 40,000 samples, 100 steps", float(x.mean()), MEAN, 4 * STD / math.sqrt(n))
    level = schedule(torch.tensor(0.01, dtype=torch.float64))
    lost = STD**2 * level.sigma**2 / (level.alpha**2 * STD**2 + level.sigma**2)
    std = math.sqrt(STD**2 - float(lost))  # the last step adds no noise
    yield Check("their standard deviation", float(x.std()), std, 4 * STD / math.sqrt(2 * n))


def _far(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max())
