"""The difference of one number of two evaluations, with its standard error.

Where both have seen the same noise, their errors are largely the same, and those of the difference small: the
jackknife leaves the same part of the images out of both, and means are compared image by image.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from diffexp.comparison.evidence import Evidence

MOST_NEEDED = 10_000_000
_LARGEST = 1e100  # of what a stranger's file may hold


@dataclass(frozen=True)
class Difference:
    """value: A minus B; error: its standard error, None where nothing can be said; df: of Student's t; count:
    how many images or seeds; paired: whether both had the same; note: why not, or why nothing can be said.
    exact: the p-value of a permutation test, of seeds.
    """

    value: float
    error: float | None = None
    df: float = math.inf
    count: int = 0
    unit: Literal["images", "seeds"] = "images"
    paired: bool = False
    note: str = ""
    exact: float | None = None

    @property
    def p(self) -> float | None:
        """The two-sided p-value of no difference, by Student's t; None where nothing can be said."""
        if self.error is None:
            return None
        if self.error == 0:
            return 1.0 if self.value == 0 else 0.0
        from scipy.special import stdtr

        return float(2 * stdtr(min(self.df, 1e9), -abs(self.value) / self.error))

    def half(self, level: float = 0.95) -> float | None:
        """Return half the width of the interval of this level."""
        return None if self.error is None else self._quantile(1 - level) * self.error

    def _quantile(self, alpha: float) -> float:
        from scipy.special import stdtrit

        return float(stdtrit(min(self.df, 1e9), 1 - alpha / 2))

    def needed(self, alpha: float = 0.05) -> int | None:
        """Return how many images or seeds would leave 0 out of the interval if the difference stays as it is:
        the error falls as 1/√N, and with more seeds Student's t does as well. None where no number below 10
        million would, or nothing can be said.
        """
        if self.error is None or self.value == 0:
            return None
        ratio = self._quantile(alpha) * self.error / self.value
        needed = self.count * ratio * ratio
        if not needed <= MOST_NEEDED:
            return None
        least = 2 if self.unit == "images" else self._seeds(alpha, math.ceil(needed))
        return max(least if self.unit == "seeds" else math.ceil(needed), 2)

    def _seeds(self, alpha: float, most: int) -> int:
        """Return the least number of seeds, up to `most`, that would do: each is a degree of freedom more."""
        spread, low = (self.error or 0.0) * self.count**0.5, min(self.count, most)
        while low < most:
            middle = (low + most) // 2
            df = self.df + middle - self.count
            error = spread / middle**0.5
            enough = replace(self, df=df)._quantile(alpha) * error <= abs(self.value)
            low, most = (low, middle) if enough else (middle + 1, most)
        return most


@dataclass(frozen=True)
class Number:
    """One number of an evaluation of n images; error: its standard error, if that is known."""

    key: str
    value: float
    n: int
    error: float | None = None
    evidence: Evidence | None = None

    def kept(self, kind: str) -> np.ndarray | None:
        """Return what the evaluation has kept of it, sound or not."""
        return None if self.evidence is None else self.evidence.arrays.get(f"{self.key}/{kind}")

    def fault(self, kind: str) -> str:
        """Say what is wrong with what was kept; "" for nothing."""
        values = self.kept(kind)
        if values is None:
            return ""
        if len(values) < 2:
            return "one number was kept of it, and two are needed"
        nan = kind == "without" and bool(np.isnan(values).any())  # of an image that was not judged it may be
        return "what was kept of it is not finite" if nan or (np.abs(values) > _LARGEST).any() else ""

    def array(self, kind: str) -> np.ndarray | None:
        """Return what the evaluation has kept of it, if that is sound."""
        return None if self.fault(kind) else self.kept(kind)


def of_evaluations(a: Number, b: Number) -> Difference:
    """Return the difference of a number of two evaluations of as many images."""
    value = a.value - b.value
    note = unpaired_by(a.evidence, b.evidence)
    if not note:
        for kind, of in (("without", _of_parts), ("each", _of_images)):
            x, y = a.array(kind), b.array(kind)
            if x is None or y is None:
                note = note or a.fault(kind) or b.fault(kind)
                continue
            if len(x) == len(y) and np.array_equal(np.isnan(x), np.isnan(y)):
                return of(value, x - y, a.n)
            unit = "parts" if kind == "without" else "images"
            other = f"{len(x):,} {unit} were kept of one, {len(y):,} of the other"
            note = other if len(x) != len(y) else "other images were judged"
    return _unpaired(a, b, note or "this number is not kept image by image")


def unpaired_by(a: Evidence | None, b: Evidence | None) -> str:
    """Say why two evaluations are not paired; "" where they are."""
    if a is None or b is None:
        return "no evidence was kept"
    for key, words in (
        ("noise", "other noise"),
        ("asked", "other images, classes or captions"),
        ("n", "another N"),
    ):
        if key not in a.pairing or a.pairing[key] != b.pairing.get(key):
            return words
    return ""


def _of_parts(value: float, without: np.ndarray, n: int) -> Difference:
    parts = len(without)
    error = math.sqrt((parts - 1) * float(without.var()))
    return Difference(value, error, parts - 1, n, paired=True)


def _of_images(value: float, each: np.ndarray, n: int) -> Difference:
    judged = each[~np.isnan(each)]
    if len(judged) < 2:
        return Difference(value, None, count=n, note="fewer than 2 images were judged")
    return Difference(value, float(judged.std(ddof=1)) / len(judged) ** 0.5, len(judged) - 1, n, paired=True)


def _unpaired(a: Number, b: Number, note: str) -> Difference:
    """Return the difference with the root of the sum of the squares, and Welch's degrees of freedom."""
    value = a.value - b.value
    if a.error is None or b.error is None:
        return Difference(value, None, count=a.n, note=f"{note}, and it has no standard error of its own")
    squares = a.error * a.error, b.error * b.error
    dfs = [_df(number) for number in (a, b)]
    below = sum(s * s / df for s, df in zip(squares, dfs, strict=True))
    return Difference(
        value, math.sqrt(sum(squares)), sum(squares) ** 2 / below if below else math.inf, a.n, note=note
    )


def _df(number: Number) -> float:
    """Return the degrees of freedom of its own standard error; of FID without evidence as of ten parts."""
    without = number.array("without")
    if without is not None:
        return len(without) - 1
    return 9 if number.key.startswith("fid_") else max(number.n - 1, 1)
