"""Which times a sampler visits: S + 1 decreasing times, from the noisiest to 0; at all but that the denoiser
is called.

t = i/T is the i-th step of the chain (the 0-based index of the papers' code is i − 1). Spacings of the chain
are positions 1..T; spacings of the noise level are values of σ/α, from START on where the schedule goes above
that (logsnr: where it goes above RATIO_MAX), and fall between the steps of the chain unless snapped to it.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from diffexp.diffusion.schedule import Schedule
from diffexp.errors import ConfigError
from diffexp.samplers.positions import typed
from diffexp.untyped import unique

START = 80.0  # where Karras et al. 2022 begin: a start of unit noise is right to 1/80 there
RATIO_MAX = 200.0  # above, x/α has next to no signal, and its error is too much magnified

Spacing = Literal[
    "trailing", "leading", "linspace", "uniform", "quad", "stride",
    "sgm_uniform", "sqrt_t", "power", "beta", "logsnr", "karras", "soft",
]  # fmt: skip
GridTimes = Spacing | Literal["optimal"] | tuple[float, ...]
"""A spacing by name, positions in the chain typed by hand, or those made for a checkpoint (optimal.py)."""


def _trailing(T: int, S: int) -> Tensor:
    """T − k T/S, rounded: from the last step, evenly. Lin et al. 2024."""
    return (T - torch.arange(S, dtype=torch.float64) * T / S).round()


def _leading(T: int, S: int) -> Tensor:
    """k ⌊T/S⌋ + 1: down to the first step, evenly; the noisiest ones are left out."""
    return torch.arange(S - 1, -1, -1, dtype=torch.float64) * (T // S) + 1


def _linspace(T: int, S: int) -> Tensor:
    """Evenly, with both ends; the "S" of Nichol & Dhariwal 2021 (code), every (T − 1)/(S − 1)-th."""
    return torch.linspace(T - 1, 0, S, dtype=torch.float64).round() + 1


def _uniform(T: int, S: int) -> Tensor:
    """range(0, T, T // S). Song et al. 2021 (DDIM, code), for CelebA."""
    steps = torch.arange(0, T, T // S, dtype=torch.float64).flip(0) + 1
    if len(steps) != S:
        what = f"spacing=uniform makes {len(steps)} steps of {S} in a chain of {T}"
        raise ConfigError(what, "sampler.steps", f"give a divisor of {T}, or sampler.spacing=leading")
    return steps


def _quad(T: int, S: int) -> Tensor:
    """⌊linspace(0, √(0.8 T), S)²⌋. Song et al. 2021 (DDIM, code), for CIFAR-10.

    From about S = 30 (T = 1000) the first of these coincide. Each is taken once, so fewer are left than
    asked for.
    """
    # a hair above, for 0.8 T may be a square whose root is not exact
    steps = (torch.linspace(0, math.sqrt(0.8 * T), S, dtype=torch.float64) ** 2 + 1e-9).floor()
    return unique(steps).flip(0) + 1


def _stride(T: int, S: int) -> Tensor:
    """The smallest whole stride of which S fit, from the first. Nichol & Dhariwal 2021 (code, "ddimS")."""
    for stride in range(1, T + 1):
        if len(range(0, T, stride)) == S:
            return torch.arange(0, T, stride, dtype=torch.float64).flip(0) + 1
    what = f"no whole stride makes {S} steps of a chain of {T}"
    raise ConfigError(what, "sampler.steps", "give another number, or sampler.spacing=trailing")


def _sgm_uniform(T: int, S: int) -> Tensor:
    """Evenly from the last step to the first, without that one. Stability AI's generative-models (code)."""
    return torch.linspace(T, 1, S + 1, dtype=torch.float64)[:-1]


def _sqrt_t(T: int, S: int) -> Tensor:
    """Evenly in √t; the step to 0 is as long as the others, or begins at the first of the chain if later."""
    return torch.linspace(math.sqrt(T), max(1, math.sqrt(T) / S), S, dtype=torch.float64) ** 2


def _power(T: int, S: int) -> Tensor:
    """Evenly in t^0.3, down to t = S^(−5/2), or 0.003 if that is later. For iPNDM of order 3: found on
    Gaussians and mixtures, as the end point that balances the error before it with that of the step to 0.
    """
    last = max(1.0, T * max(S**-2.5, 0.003))
    at = torch.linspace(T**0.3, last**0.3, S, dtype=torch.float64) ** (1 / 0.3)
    return at.clamp(max=T)  # the root of T is not exact


def _beta(T: int, S: int) -> Tensor:
    """Quantiles of Beta(0.6, 0.6), dense at both ends. Lee et al. 2024."""
    from scipy.special import betaincinv  # pyright: ignore[reportMissingTypeStubs]

    q = betaincinv(0.6, 0.6, (1 - torch.arange(S, dtype=torch.float64) / S).numpy())
    return torch.as_tensor(q).double() * (T - 1) + 1


def _karras(high: float, low: float, u: Tensor, rho: float) -> Tensor:
    """Evenly in (σ/α)^(1/ρ). Karras et al. 2022, eq. 5."""
    return torch.lerp(u.new_tensor(high ** (1 / rho)), u.new_tensor(low ** (1 / rho)), u) ** rho


def _logsnr(high: float, low: float, u: Tensor, rho: float) -> Tensor:
    """Evenly in λ = log α/σ: σ/α falls exponentially (k-diffusion's name for it). Lu et al. 2022."""
    return torch.lerp(u.new_tensor(high).log(), u.new_tensor(low).log(), u).exp()


def _soft(high: float, low: float, u: Tensor, rho: float) -> Tensor:
    """Evenly in log(1 + α/σ): like logsnr where there is little noise, sparse where there is much."""
    ends = torch.tensor([1 / high, 1 / low], dtype=torch.float64).log1p()
    return 1 / torch.lerp(ends[0], ends[1], u).expm1()


_CHAIN: dict[str, Callable[[int, int], Tensor]] = {
    "trailing": _trailing,
    "leading": _leading,
    "linspace": _linspace,
    "uniform": _uniform,
    "quad": _quad,
    "stride": _stride,
}
_BETWEEN: dict[str, Callable[[int, int], Tensor]] = {
    "sgm_uniform": _sgm_uniform,
    "sqrt_t": _sqrt_t,
    "power": _power,
    "beta": _beta,
}
_RATIO: dict[str, Callable[[float, float, Tensor, float], Tensor]] = {
    "logsnr": _logsnr,
    "karras": _karras,
    "soft": _soft,
}
assert {*_CHAIN, *_BETWEEN, *_RATIO} == set(get_args(Spacing))


def time_grid(
    schedule: Schedule,
    steps: int,
    spacing: GridTimes | Sequence[float],
    snap: bool | None = None,
    end: Literal["zero", "first"] = "zero",
    sections: Sequence[int] | None = None,
    rho: float = 7.0,
    shift: float = 1.0,
) -> Tensor:
    """float64 (S + 1,), decreasing, the last 0; S is `steps`, or less for quad.

    spacing: its name, or positions in the chain, 1 to T, decreasing. snap: round to the chain; None leaves
    spacings of the noise level between its steps. end: zero takes the step to 0 from where the spacing ends;
    first has the last call at the first step of the chain, on any spacing. sections: steps in equal parts of
    the chain, the least noisy part first, evenly in each, in place of a spacing (Nichol & Dhariwal 2021,
    code). rho: of karras. shift: σ/α is so many times that of the spacing, as far as the chain goes (Esser et
    al. 2024, section 5.3.2). Raises ConfigError for what does not fit the chain.
    """
    T = schedule.T
    if spacing == "optimal":
        do = "use it with task=sample or task=evaluate, task.ckpt=RUN"
        raise ConfigError("spacing=optimal is made for a checkpoint", "sampler.spacing", do)
    if sections is not None:
        at, whole = _in_sections(T, sections), True
    elif not isinstance(spacing, str):
        at, whole = typed(schedule, spacing), False
    else:
        at, whole = _spaced(schedule, steps, spacing, rho)
        if end == "first" and steps > 1 and at[-1] > 1 + 1e-6:
            at, whole = _spaced(schedule, steps - 1, spacing, rho)
    if shift != 1:
        angle = schedule.angle(at / T)
        shifted = torch.atan2(shift * torch.sin(angle), torch.sin(math.pi / 2 - angle))
        at = (T * schedule.time(shifted)).clamp(max=T)
    if snap or (snap is None and whole):
        at = at.round().clamp(1, T)
    if end == "first" and at[-1] > 1 + 1e-6:
        at = torch.cat([at, at.new_ones(1)])
    times = torch.cat([at / T, at.new_zeros(1)])
    if not (times.diff() < 0).all():
        what = f"{len(at)} steps of spacing={spacing} do not fall on different steps of the {T}-step chain"
        do = "give sampler.snap=false, fewer sampler.steps, or spacing=trailing"
        raise ConfigError(what, "sampler.snap" if isinstance(spacing, str) else "sampler.spacing", do)
    return times


def _spaced(schedule: Schedule, steps: int, spacing: Spacing, rho: float) -> tuple[Tensor, bool]:
    """Positions by name, and whether they are meant to be whole."""
    T = schedule.T
    if spacing in _CHAIN and steps > T:
        what = f"sampler.steps={steps} exceeds the {T}-step chain"
        raise ConfigError(what, "sampler.steps", f"give at most {T}, or sampler.spacing=logsnr")
    if spacing not in _RATIO:
        return (_CHAIN | _BETWEEN)[spacing](T, steps), spacing in _CHAIN
    high, low = (float(ratio) for ratio in schedule(torch.tensor([1, 1 / T], dtype=torch.float64)).ratio)
    if spacing != "logsnr" or high > RATIO_MAX:
        high = min(high, START)
    ratios = between(spacing, high, low, steps, rho)
    return T * schedule.time(ratios.atan()), False


def between(spacing: Spacing, high: float, low: float, n: int, rho: float = 7.0) -> Tensor:
    """n values of σ/α from high to low, both included; float64. Of the spacings of the noise level."""
    return _RATIO[spacing](high, low, torch.linspace(0, 1, n, dtype=torch.float64), rho)


def _in_sections(T: int, sections: Sequence[int]) -> Tensor:
    """Decreasing positions."""
    if not len(sections) or not all(type(count) is int for count in sections):
        what = f"sections={list(sections)} is not a list of whole numbers"
        raise ConfigError(what, "sampler.sections", "type sampler.sections=[10,20]")
    sizes = [T // len(sections) + (i < T % len(sections)) for i in range(len(sections))]
    for size, count in zip(sizes, sections, strict=True):
        if not 1 <= count <= size:
            what = f"{count} steps do not fit a part of {size} steps"
            raise ConfigError(what, "sampler.sections", f"give 1 to {size} for each part")
    at, start = list[Tensor](), 1
    for size, count in zip(sizes, sections, strict=True):
        # one step alone is the first of its part
        at.append(start + torch.linspace(0, size - 1 if count > 1 else 0, count, dtype=torch.float64).round())
        start += size
    return torch.cat(at).flip(0)
