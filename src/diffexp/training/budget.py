"""A budget of a training, in time or in the work of its network: what is used up first ends it.

    used = max(seconds/max_time, FLOPs/max_flops),   FLOPs = those of an image (flops.py) times images

Seconds are those of training alone: the clock stands still in evaluations. A learning rate that falls, falls
to its end where `used` is 1 (lr.py).
"""

import math
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from diffexp.errors import ConfigError, Problems

KEYS = ("max_time", "max_flops")
_UNITS = {"d": 86400.0, "h": 3600.0, "min": 60.0, "s": 1.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(d|h|min|s)\s*")
_CLOCK = re.compile(r"(?:(\d+):)?(\d+):(\d\d):(\d\d)")  # as Lightning has it, or without days
_TIMES = "300s, 5min, 1h30min, or hours:minutes:seconds as 00:05:00; a number is seconds"


@dataclass(frozen=True)
class Budget:
    """max_time: seconds; max_flops: floating-point operations; None for no end."""

    max_time: float | None = None
    max_flops: float | None = None

    def __bool__(self) -> bool:
        return self.max_time is not None or self.max_flops is not None

    def used(self, seconds: float, flops: float) -> float:
        """Return how much of the budget is used, 1 for all of it."""
        return max(self.shares(seconds, flops).values(), default=0.0)

    def ended_by(self, seconds: float, flops: float) -> str | None:
        """Return the key of what is used up, None where nothing is."""
        return next((key for key, share in self.shares(seconds, flops).items() if share >= 1), None)

    def shares(self, seconds: float, flops: float) -> dict[str, float]:
        """Return how much of each limit is used, 1 for all of it, by its key."""
        pairs = zip(KEYS, (seconds, flops), (self.max_time, self.max_flops), strict=True)
        return {key: value / most for key, value, most in pairs if most is not None}


@dataclass(frozen=True)
class Cost:
    """The cost of a training: flops is None where they cannot be counted."""

    ended_by: str
    steps: int
    seconds: float
    images: int
    flops: int | None

    def words(self) -> str:
        """Return it as a line."""
        work = "" if self.flops is None else f", {self.flops:.4g} FLOPs"
        return f"ended by {self.ended_by} at step {self.steps}: {self.seconds:.1f} s of training{work}"

    def row(self) -> dict[str, Any]:
        """Return it as plain values, with the FLOPs of an image."""
        each = None if self.flops is None or not self.images else self.flops / self.images
        return asdict(self) | {"seconds": round(self.seconds, 2), "flops_per_image": each}


def budget_of(trainer: Mapping[str, Any]) -> Budget:
    """Return the budget that a trainer's configuration says. Raises ConfigError with all that is wrong."""
    problems, values = Problems(), dict[str, float | None]()
    for key, read in zip(KEYS, (_seconds, _operations), strict=True):
        with problems:
            values[key] = None if trainer.get(key) is None else read(trainer[key])
    problems.all_at_once()
    return Budget(**values)


def budget_before(trainer: Mapping[str, Any]) -> Budget | None:
    """Return the budget of a run that was there before, None where its file says none that can be read."""
    with suppress(ConfigError):
        return budget_of(trainer)
    return None


def _seconds(value: object) -> float:
    seconds = math.nan
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = float(value)
    elif isinstance(value, str) and (clock := _CLOCK.fullmatch(value.strip())):
        seconds = sum(
            int(part or 0) * unit for part, unit in zip(clock.groups(), _UNITS.values(), strict=True)
        )
    elif isinstance(value, str) and (parts := _PART.findall(value)) and not _PART.sub("", value).strip():
        seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if not 0 < seconds < math.inf:
        raise ConfigError(f"max_time={value} is no time", "trainer.max_time", f"give {_TIMES}")
    return seconds


def _operations(value: object) -> float:
    with suppress(TypeError, ValueError, OverflowError):
        flops = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
        if 0 < flops < math.inf:
            return flops
    what = f"max_flops={value} is no number of operations"
    raise ConfigError(what, "trainer.max_flops", "give a number above 0, as 1e15")
