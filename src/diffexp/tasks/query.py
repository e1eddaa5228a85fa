"""task=query: which of some runs are as it is asked, and the best of them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

from rich.console import Console
from rich.table import Table

from diffexp.config.suggest import path_of
from diffexp.errors import ConfigError, Problems
from diffexp.escape import line, plain
from diffexp.notice import warn
from diffexp.report.run_keys import Keys
from diffexp.report.run_rows import METRICS, rows_in, unseen
from diffexp.report.where import Filter, filter_of
from diffexp.run.console import say
from diffexp.run.folder import Record
from diffexp.run.job import Job, Task
from diffexp.run.result import finite
from diffexp.run.results import is_number
from diffexp.training.direction import direction

FORMAT = 1
Column = tuple[str, str]
"""A key as it was typed, and the one that it means."""


@dataclass(frozen=True)
class Query(Task):
    """runs: folders of runs and sweeps, or such as hold some. where: a filter (where.py); best: a metric, of
    which the best comes first, and without which a run is left out; show: keys to show; first: how many rows
    at most; format: a table, or one JSON object and nothing else on stdout.
    """

    runs: tuple[str, ...] = ()
    where: str = ""
    best: str | None = None
    show: tuple[str, ...] = ()
    first: int | None = None
    format: Literal["table", "json"] = "table"
    tracked: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.format not in ("table", "json"):
            raise ConfigError(f"format={self.format}", "task.format", "give table or json")
        if self.first is not None and self.first < 1:
            raise ConfigError(f"first={self.first}", "task.first", "give 1 or more, or null for all")

    def check(self, job: Job) -> None:
        self._asked  # noqa: B018

    @cached_property
    def _asked(self) -> tuple[list[dict[str, Any]], Filter, str | None, list[Column]]:
        """Read the rows; return them with the filter, the metric that decides, and what is to be shown."""
        if not self.runs:
            do = "type task.runs=[runs], or folders of runs and sweeps"
            raise ConfigError("no runs are named", "task.runs", do)
        rows = [
            r for r in rows_in([path_of(run, "task.runs") for run in self.runs]) if r.get("task") != "query"
        ]
        for text in unseen(rows):
            warn(text)
        keys, problems = Keys.of(rows), Problems()
        holds, best, shown = Filter(lambda row: True, ()), None, list[Column]()
        with problems:
            holds = filter_of(self.where, keys.meant)
        with problems:
            best = None if self.best is None else keys.metric(self.best)
            if best is not None and direction(best.removeprefix(METRICS)) == "neither":
                raise ConfigError(
                    f"of {self.best} neither more nor less is better", "task.best", "name another"
                )
        for typed in self.show:
            with problems:
                shown.append((typed, keys.meant(typed, "task.show")))
        problems.all_at_once()
        return rows, holds, best, shown or keys.usual(holds.keys, best)

    def run(self, job: Job, record: Record) -> None:
        rows, holds, best, shown = self._asked
        found = [row for row in rows if holds.holds(row)]
        if best is not None:
            high = direction(best.removeprefix(METRICS)) == "higher"
            found = [row for row in found if is_number(row.get(best))]
            found.sort(key=lambda row: -row[best] if high else row[best])
        answer = [{typed: finite(row.get(key)) for typed, key in shown} for row in found[: self.first]]
        told = {"schema": FORMAT, "found": len(found), "of": len(rows), "rows": answer}
        record.results["query"] = told
        if self.format == "json":
            print(json.dumps(told, indent=1, allow_nan=False), flush=True)
            return
        if answer:
            Console().print(_table([typed for typed, _ in shown], answer))
        say(
            f"{len(found)} of {len(rows)} runs"
            + (f", the first {len(answer)}" if len(answer) < len(found) else "")
        )


def _table(heads: Sequence[str], rows: Sequence[dict[str, Any]]) -> Table:
    table = Table()
    for head in heads:
        table.add_column(plain(line(head)), overflow="fold")
    for row in rows:
        table.add_row(*(plain(_text(row[head])) for head in heads))
    return table


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.5g}" if isinstance(value, float) else line(str(value))
