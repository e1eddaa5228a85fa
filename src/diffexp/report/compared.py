"""Compare the variants of sweeps and runs: each number against that of a baseline, or of all others."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from diffexp.comparison.difference import Difference, Number, of_evaluations
from diffexp.comparison.evidence import NAME, Evidence, load
from diffexp.comparison.holm import holm
from diffexp.comparison.seeds import of_seeds
from diffexp.errors import DataError
from diffexp.notice import warn
from diffexp.report.labels import named
from diffexp.report.table import Snapshot, better_of, numbers, places, protocol
from diffexp.run.results import is_number
from diffexp.training.direction import Better

LEVEL = 0.05
SAME = (  # what must be the same in the cards of two numbers, and how it is called
    ("extractor", "extractor"), ("judge", "judge"), ("sha256", "weights of the extractor or judge"),
    ("split", "reference"), ("fingerprint", "reference"), ("statistics", "reference"),
    ("n_reference", "reference"), ("n", "N"), ("caption", "caption"), ("k", "number of neighbours"),
    ("subset_size", "size of subsets"), ("subsets", "number of subsets"), ("splits", "number of splits"),
    ("model", "model"),
)  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """One job that is done: its seed, its row {"results": ...}, its folder."""

    seed: Any
    row: Mapping[str, Any]
    folder: Path

    def number(self, metric: str) -> Number:
        """Return one of its numbers, with what was kept of it."""
        card = protocol(self.row, metric)
        error, n = (card[k] if is_number(card.get(k)) else None for k in ("standard_error", "n"))
        value = float(numbers(self.row)[metric])
        return Number(metric, value, int(n or 0), error, kept(self.folder))


@dataclass(frozen=True)
class Variant:
    """One side of a comparison: one job, or the same with several seeds."""

    name: str
    runs: tuple[Measured, ...]

    def mean(self, metric: str) -> float | None:
        """Return the mean over its jobs that have the number; None for none."""
        values = [numbers(run.row)[metric] for run in self.having(metric)]
        return sum(values) / len(values) if values else None

    def having(self, metric: str) -> list[Measured]:
        """Return the jobs that have the number."""
        return [run for run in self.runs if math.isfinite(numbers(run.row).get(metric, math.nan))]


@dataclass(frozen=True)
class Verdict:
    """A variant against a baseline. corrected: the p-value, corrected for how many were compared; refused:
    why the two cannot be compared, "" where they can; better: which direction is.
    """

    metric: str
    variant: str
    baseline: str
    value: float
    difference: Difference
    corrected: float | None = None
    refused: str = ""
    better: Better = "neither"

    @property
    def separated(self) -> bool | None:
        """Return whether the difference is more than chance; None where nothing can be said."""
        return None if self.corrected is None else self.corrected < LEVEL

    @property
    def words(self) -> str:
        """The verdict in words: better, worse, higher, not separated, ..."""
        if self.refused:
            return f"not comparable: {self.refused}"
        if self.separated is None:
            return self.difference.note or "nothing can be said"
        if not self.separated:
            return "not separated"
        more = self.difference.value > 0
        if self.better == "neither":
            return "higher" if more else "lower"
        return "better" if more == (self.better == "higher") else "worse"

    @property
    def decides(self) -> str:
        """Say what would decide it; "" where it is decided, or nothing can be said."""
        if self.separated is not False:
            return ""
        needed, half = self.difference.needed(), self.difference.half()
        if needed is None:
            return f"nothing, if it stays {abs(self.difference.value):.2g}"
        if needed <= self.difference.count:
            return f"fewer comparisons: alone it has p {self.difference.p:.2g}"
        most = abs(self.difference.value) + (half or 0)
        return f"about {_rounded(needed)} {self.difference.unit} each; it is at most {most:.2g}"


def _rounded(count: int) -> str:
    step = 10 ** max(0, len(str(count)) - 2)
    return f"{math.ceil(count / step) * step:,}"


def variants(snapshot: Snapshot) -> dict[tuple[str, str], Variant]:
    """Return the variants of a sweep by their row and column; seeds are the jobs of one."""
    jobs: dict[tuple[str, str], list[Measured]] = {}
    names = dict[tuple[str, str], str]()
    for (cell, row), place in zip(snapshot.cells, places(snapshot.plan, snapshot.cells), strict=True):
        if row is not None and row["state"] == "done":
            job = Measured(cell["values"].get("seed"), row, snapshot.folder / cell["folder"])
            jobs.setdefault(place, []).append(job)
            keys = (key for key in snapshot.plan["varying"] if key != "seed")
            names.setdefault(place, named({key: cell["values"][key] for key in keys}))
    return {at: Variant(names[at], tuple(runs)) for at, runs in jobs.items()}


def kept(folder: Path) -> Evidence | None:
    """Return what an evaluation has kept; None for nothing, or what cannot be read: then it is unpaired."""
    try:
        path = folder.resolve() / NAME
        if path.is_symlink() or not path.is_file():
            return None
        return _kept(path.parent, path.stat().st_mtime_ns)
    except (OSError, ValueError, RuntimeError):  # no name of a file, or links in a circle
        return None


@lru_cache(maxsize=1024)
def _kept(folder: Path, written: int) -> Evidence | None:
    try:
        return load(folder)
    except DataError as error:
        warn(f"{error.what}, and is not used: {error.where}")
        return None


def refused(a: Measured, b: Measured, metric: str) -> str:
    """Say why a number of two jobs cannot be compared; "" where it can."""
    x, y = protocol(a.row, metric), protocol(b.row, metric)
    for key, words in SAME:
        if x.get(key) != y.get(key):
            return f"another {words} ({_short(x.get(key))}, not {_short(y.get(key))})"
    return ""


def _short(value: Any) -> str:
    return "none" if value is None else str(value)[:40]


def compared(metric: str, a: Variant, b: Variant) -> Verdict:
    """Return the verdict of one number of two variants that both have it: over the seeds of several jobs, of
    the images of one.
    """
    x, y = a.having(metric), b.having(metric)
    means = [sum(numbers(run.row)[metric] for run in runs) / len(runs) for runs in (x, y)]
    which = better_of(metric, [run.row for run in x])
    verdict = Verdict(metric, a.name, b.name, means[0], Difference(means[0] - means[1]), better=which)
    if why := refused(x[0], y[0], metric):
        return replace(verdict, refused=why)
    if len(x) > 1 or len(y) > 1:
        seeds = ({run.seed: numbers(run.row)[metric] for run in runs} for runs in (x, y))
        difference = of_seeds(*seeds)
    else:
        difference = of_evaluations(x[0].number(metric), y[0].number(metric))
    return replace(verdict, difference=difference)


def against(
    metric: str, those: Sequence[Variant], baseline: Variant | None = None, correct: bool = True
) -> list[Verdict]:
    """Compare each variant with the baseline, or with the best; the p-values corrected for all of them."""
    there = [v for v in those if v.having(metric)]
    base = baseline or best(metric, there)
    if base is None or not base.having(metric):
        return []
    return corrected([compared(metric, v, base) for v in there if v is not base], correct)


def best(metric: str, those: Sequence[Variant]) -> Variant | None:
    """Return the variant with the best mean, or the first where no direction is better; None for none."""
    there = [(mean, v) for v in those if (mean := v.mean(metric)) is not None]
    which = better_of(metric, [run.row for _, v in there for run in v.having(metric)[:1]])
    if not there or which == "neither":
        return there[0][1] if there else None
    return (max if which == "higher" else min)(there, key=lambda pair: pair[0])[1]


def corrected(verdicts: Sequence[Verdict], correct: bool = True) -> list[Verdict]:
    """Return verdicts with their p-values corrected for all of them by Holm, or as they are."""
    values = [None if v.refused else v.difference.p for v in verdicts]
    values = holm(values) if correct else values
    return [replace(v, corrected=p) for v, p in zip(verdicts, values, strict=True)]
