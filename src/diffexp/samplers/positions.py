"""Grids that are typed by hand, and where a grid of samples may begin.

A sample begins as unit noise. x_t is that at a noisy time only: where it is more image than noise, σ/α < 1,
a network would be shown what it never saw in training. So no sample begins there. Each spacing of two steps
or more begins above it, and times t in (0, 1] that were taken for positions begin far below. Where even the
last step of a chain has less noise than image, half of its σ/α will do.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor

from diffexp.diffusion.schedule import Schedule
from diffexp.errors import ConfigError

KEY = "sampler.spacing"
ROUNDING = 1e-6  # of positions: those made for a checkpoint are written with six digits
_SHOWN = 8


def numbers(spacing: Any) -> list[float]:
    """Return positions as floats. Raises ConfigError for anything but finite numbers that decrease."""
    do = "type a name, or positions in the chain, decreasing: sampler.spacing=[1000,700,300]"
    if isinstance(spacing, bytes) or not isinstance(spacing, Sequence):
        raise ConfigError(f"spacing={spacing} is neither a name nor a list of positions", KEY, do)
    given = cast("Sequence[Any]", spacing)
    if not len(given):
        raise ConfigError("spacing=[] has no position", KEY, do)
    found = [_number(value) for value in given]
    wrong = [value for value, number in zip(given, found, strict=True) if not math.isfinite(number)]
    if wrong:
        raise ConfigError(f"{str(wrong[0])[:60]!r} in spacing is not a finite number", KEY, do)
    for before, after in pairwise(found):
        if after >= before:
            raise ConfigError(f"spacing goes from {before:g} to {after:g}, which is no decrease", KEY, do)
    return found


def _number(value: Any) -> float:
    """NaN for what is no number."""
    if isinstance(value, (bool, str, bytes)):
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # the last of a tensor with many
        return math.nan


def typed(schedule: Schedule, spacing: Any) -> Tensor:
    """Return positions typed by hand, float64. Raises ConfigError for those outside the chain."""
    at, T = numbers(spacing), schedule.T
    if at[0] > T + ROUNDING or at[-1] < 1 - ROUNDING:
        what = f"spacing={_shown(at)} leaves the chain, whose positions are 1 to {T}"
        raise ConfigError(what, KEY, _do(at, T))
    return torch.tensor(at, dtype=torch.float64).clamp(max=T)


def check_start(schedule: Schedule, times: Tensor, typed_by_hand: bool) -> None:
    """Raises ConfigError for times of a grid where x is more image than noise at the first of them."""
    T = schedule.T
    ratio, most = (float(r) for r in schedule(torch.stack([times[0], times.new_ones(())])).ratio)
    if ratio >= min(1.0, most / 2) - ROUNDING:
        return
    what = f"the first of {len(times) - 1} steps is at position {float(times[0] * T):g} of {T}, where x is"
    what += f" more image than noise (σ/α = {ratio:.2g}), and a sample begins as noise alone"
    do = "give more sampler.steps, or sampler.spacing=trailing"
    raise ConfigError(what, KEY, _do([float(t * T) for t in times[:-1]], T) if typed_by_hand else do)


def _do(at: Sequence[float], T: int) -> str:
    if at[0] <= 1 and at[-1] >= 0:
        meant = ",".join(f"{max(1.0, t * T):.10g}" for t in at if t > 0)
        return f"as times t = position/T they would be positions: type '{KEY}=[{meant}]'"
    return f"type positions from {T} down to 1"


def _shown(at: Sequence[float]) -> str:
    """Positions as they are typed; of many the first and the last."""
    texts = [f"{round(p, 6):.10g}" for p in at]
    return f"[{', '.join(texts if len(texts) <= _SHOWN else [*texts[:3], '...', texts[-1]])}]"
