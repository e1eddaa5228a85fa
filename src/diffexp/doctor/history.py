"""What the training has logged, from metrics.jsonl of its folder: how rough the loss is, and whether it
falls.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median

from diffexp.files import json_rows

FEWEST = 8  # logged losses, below which nothing is said


@dataclass(frozen=True)
class History:
    """rough: the median jump between neighbouring losses, of their size, in the second quarter of the
    training; falling: by how much of it the last quarter is below the third; gradient: the median norm of
    the gradient, NaN where none is logged; clipped: the share of logged norms above 1, where they are
    clipped by default; leap: the largest loss, in times of the one before it.
    """

    rough: float
    falling: float
    gradient: float
    clipped: float
    leap: float = 1.0

    def words(self) -> str:
        """Return a sentence of it."""
        said = f"neighbouring losses differ by {self.rough:.0%}, "
        fell = "fell" if self.falling >= 0 else "rose"
        said += f"the loss {fell} by {abs(self.falling):.0%} in the last quarter"
        if self.leap > 2:
            said += f", and has leapt to {self.leap:.1f} times the one before"
        if math.isnan(self.gradient):
            return said
        return f"{said}, the gradient's norm {self.gradient:.2g} ({self.clipped:.0%} above 1)"


def history(folder: Path | None) -> History | None:
    """Return that of a run folder; None where nothing, or too little, was logged."""
    if folder is None:
        return None
    try:
        rows = json_rows(folder / "metrics.jsonl")
    except OSError:
        return None
    return of(_numbers(rows, "train/loss"), _numbers(rows, "train/grad_norm"))


def of(losses: list[float], norms: list[float]) -> History | None:
    """Return that of losses and norms of gradients, in order."""
    if len(losses) < FEWEST:
        return None
    quarter = len(losses) // 4
    middle = losses[quarter : max(2 * quarter, quarter + 3)]
    jumps = [abs(b - a) / max(min(abs(a), abs(b)), 1e-12) for a, b in pairwise(middle)]
    third, last = fmean(losses[-2 * quarter : -quarter]), fmean(losses[-quarter:])
    clipped = sum(n > 1 for n in norms) / len(norms) if norms else math.nan
    leap = max(abs(b) / max(abs(a), 1e-12) for a, b in pairwise(losses))
    return History(median(jumps), 1 - last / third, median(norms) if norms else math.nan, clipped, leap)


def _numbers(rows: list[dict[str, object]], key: str) -> list[float]:
    values = (row.get(key) for row in rows)
    return [float(v) for v in values if isinstance(v, (int, float)) and math.isfinite(v)]
