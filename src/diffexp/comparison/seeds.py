"""The difference of two ways of training, from trainings with the same seeds.

One seed is the same order of the data, the same noise and, where shapes agree, the same weights to begin
with, so what differs from seed to seed is largely the same on both sides.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from diffexp.comparison.difference import Difference

LEAST, LEAST_EXACT, MOST_EXACT = 3, 5, 16


def of_seeds(a: Mapping[Any, float], b: Mapping[Any, float]) -> Difference:
    """Return the mean difference of the seeds that both have, by Student's t; without common seeds that of
    the means, by Welch's. Of fewer than 3 nothing can be said.
    """
    common = [seed for seed in a if seed in b]
    if common:
        return _paired(np.array([a[seed] - b[seed] for seed in common]))
    x, y = np.array(list(a.values())), np.array(list(b.values()))
    value, count = float(x.mean() - y.mean()), min(len(x), len(y))
    if count < LEAST:
        return Difference(value, count=count, unit="seeds", note=_too_few(count))
    parts = [float(v.var(ddof=1)) / len(v) for v in (x, y)]
    below = sum(s * s / (len(v) - 1) for s, v in zip(parts, (x, y), strict=True))
    df = sum(parts) ** 2 / below if below else math.inf
    return Difference(value, math.sqrt(sum(parts)), df, count, "seeds", note="no seed in common")


def _paired(each: np.ndarray) -> Difference:
    value, count = float(each.mean()), len(each)
    if count < LEAST:
        return Difference(value, count=count, unit="seeds", paired=True, note=_too_few(count))
    error = float(each.std(ddof=1)) / count**0.5
    return Difference(value, error, count - 1, count, "seeds", True, exact=sign_flips(each))


def _too_few(count: int) -> str:
    seeds = "1 seed" if count == 1 else f"{count} seeds"
    return f"of {seeds} nothing can be said, {LEAST} are needed"


def sign_flips(each: np.ndarray) -> float | None:
    """Return the exact p-value of no difference: the share of all choices of signs whose mean is as far from
    0. None for fewer than 5 values, which cannot tell, or more than 16, of which there are too many.
    """
    if not LEAST_EXACT <= len(each) <= MOST_EXACT:
        return None
    signs = 1 - 2 * (np.arange(1 << len(each))[:, None] >> np.arange(len(each)) & 1)
    sums = np.abs(signs @ each)
    return float((sums >= sums[0] * (1 - 1e-12)).mean())
