"""The keys of rows of runs (run_rows.py), and which of them a typed one means."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diffexp.errors import ConfigError
from diffexp.report.run_rows import METRICS
from diffexp.report.where import WHERE

_ERROR = ".standard_error"


@dataclass(frozen=True)
class Keys:
    """known: of any row; metrics: those that are measured values."""

    known: tuple[str, ...]
    metrics: tuple[str, ...]

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, Any]]) -> "Keys":
        """Return those of some rows."""
        known = dict.fromkeys(key for row in rows for key in row)
        measured = [k for k in known if k.startswith(METRICS) and f"{k}{_ERROR}" in known]
        return cls(tuple(known), tuple(measured))

    def meant(self, typed: str, where: str = WHERE) -> str:
        """Return the key itself; that of a metric, or its only beginning; a group for group.name. Raises
        ConfigError for another, with those that are like it.
        """
        group = typed.removesuffix(".name")
        for key in (typed, f"{METRICS}{typed}", group):
            if key in self.known:
                return key
        beginning = [k for k in self.metrics if k.startswith(METRICS + typed.removeprefix(METRICS))]
        if len(beginning) == 1:
            return beginning[0]
        names = [*self.known, *(name.removeprefix(METRICS) for name in self.metrics)]
        near = [k.removeprefix(METRICS) for k in beginning[:8]] or difflib.get_close_matches(typed, names, 3)
        do = f"type {' or '.join(near)}" if near else "see config.yaml of a run: its keys, groups and metrics"
        what = f"{typed} may be several metrics" if beginning else f"no run has {typed[:100]}"
        raise ConfigError(what, where, do)

    def metric(self, typed: str) -> str:
        """Return the key of a metric. Raises ConfigError for another key, or none."""
        key = self.meant(typed, "task.best")
        if key not in self.metrics:
            some = ", ".join(k.removeprefix(METRICS) for k in self.metrics[:8])
            raise ConfigError(
                f"{typed} is no metric", "task.best", f"type one of {some or 'none: measure first'}"
            )
        return key

    def usual(self, asked: Sequence[str], best: str | None) -> list[tuple[str, str]]:
        """Return what is shown where nothing is typed: where, how it has ended, what was asked about, and the
        metric that decides, with its error, or the first three.
        """
        if best is None:
            some = [k for k in self.metrics if not k.endswith("loss")][:3]
        else:
            some = [best, f"{best}{_ERROR}"]
        keys = dict.fromkeys(k for k in ("folder", "status", *asked, *some) if k in self.known)
        return [(key.removeprefix(METRICS), key) for key in keys]
