"""task=compare: differences of runs, sweeps and cells, with intervals, and what would decide the rest."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from rich.console import Console
from rich.table import Table

from diffexp.config.suggest import nearest, path_of
from diffexp.errors import ConfigError
from diffexp.escape import plain
from diffexp.files import write
from diffexp.notice import warn
from diffexp.report.compared import Variant, Verdict, against, corrected
from diffexp.report.comparison_page import COLUMNS, cells, markdown, page
from diffexp.report.read_runs import read_variants, unfinished
from diffexp.report.same_noise import side_by_side
from diffexp.report.sweep_pictures import picture_of
from diffexp.report.table import numbers
from diffexp.run.console import near, say
from diffexp.run.folder import Record
from diffexp.run.job import Job, Task


@dataclass(frozen=True)
class Compare(Task):
    """runs: folders of runs that have measured something, of cells, and of sweeps for all of their cells;
    runs that differ by their seed alone are one. baseline: one of them, that the others are compared with;
    null for the best. metrics: of the numbers; [] for all that two have. correction: for the number of
    comparisons in the table.
    """

    runs: tuple[str, ...] = ()
    baseline: str | None = None
    metrics: tuple[str, ...] = ()
    correction: Literal["holm", "none"] = "holm"
    tracked: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.correction not in ("holm", "none"):
            raise ConfigError(f"correction={self.correction}", "task.correction", "give holm or none")

    def check(self, job: Job) -> None:
        self._verdicts(self._variants())

    def _folders(self) -> list[Path]:
        return [path_of(run, "task.runs") for run in self.runs]

    def _variants(self) -> list[Variant]:
        """Read what is compared. Raises ConfigError for nothing, DataError for folders of no runs."""
        if not self.runs:
            raise ConfigError("no runs are named", "task.runs", "type task.runs=[A,B], folders of runs")
        return read_variants(self._folders())

    def _verdicts(self, those: Sequence[Variant]) -> list[Verdict]:
        """Compare all. Raises ConfigError where nothing can be compared."""
        if len(those) < 2:
            do = "name two or more: task.runs=[A,B]"
            raise ConfigError("there is one run, and nothing to compare it with", "task.runs", do)
        base = None if self.baseline is None else self._base(those)
        verdicts = [v for m in self._metrics(those) for v in against(m, those, base, correct=False)]
        if verdicts and all(v.refused for v in verdicts):
            do = "measure them alike: task=evaluate with the same metrics, metrics.n and evaluator.reference"
            raise ConfigError(f"none of these can be compared: {verdicts[0].refused}", "task.runs", do)
        return corrected(verdicts, self.correction == "holm")

    def _base(self, those: Sequence[Variant]) -> Variant:
        """Return the variant that the baseline names, or whose folder it is."""
        names = {v.name: v for v in those}
        folders = {run.folder.resolve(): v for v in those for run in v.runs}
        at = path_of(str(self.baseline), "task.baseline").resolve()
        base = names.get(str(self.baseline)) or folders.get(at)
        if base is None:
            close = nearest(str(self.baseline), list(names)) or next(iter(names))
            do = f"give one of these: {', '.join(names)}" if len(names) < 11 else f"such as {close}"
            raise ConfigError(f"{self.baseline} is none of the runs", "task.baseline", do)
        return base

    def _metrics(self, those: Sequence[Variant]) -> list[str]:
        """Return the numbers that two variants have. Raises ConfigError for none, or for one they lack."""
        names = dict.fromkeys(k for v in those for run in v.runs for k in numbers(run.row))
        names = [k for k in names if sum(bool(v.having(k)) for v in those) > 1 and not k.endswith("loss")]
        for asked in self.metrics:
            if asked not in names:
                do = f"give some of these: {', '.join(names[:20])}" if names else "measure them alike"
                raise ConfigError(f"no two of the runs have {asked}", "task.metrics", do)
        if not names:
            do = "measure them: task=evaluate task.ckpt=RUN"
            raise ConfigError("no two of the runs have a number in common", "task.runs", do)
        return list(self.metrics) or names

    def run(self, job: Job, record: Record) -> None:
        those, notes = self._variants(), unfinished(self._folders())
        verdicts = self._verdicts(those)
        for note in notes:
            warn(note)
        write(job.folder / "compare.md", markdown(verdicts, notes))
        write(
            job.folder / "compare.html",
            page(verdicts, self.correction, those, notes, _pictures(verdicts, those)),
        )
        record.results["comparisons"] = [described(v) for v in verdicts]
        record.results |= {"notes": notes} if notes else {}
        for table in _tables(verdicts):
            Console().print(table)
        say(f"page: {near(job.folder / 'compare.html')}   everything: {near(job.folder)}/")


def _pictures(verdicts: Sequence[Verdict], those: Sequence[Variant]) -> str:
    """Return images of the baseline and of the others, from the same noise, as HTML."""
    base = next((v.baseline for v in verdicts), "")
    order = sorted(those, key=lambda v: v.name != base)  # stable
    found = [(v.name, picture_of(run.folder, run.row["results"])) for v in order for run in v.runs[:1]]
    return side_by_side([(name, path) for name, path in found if path is not None])


def described(v: Verdict) -> dict[str, Any]:
    """Return a verdict as plain values, for a program."""
    d, half = v.difference, v.difference.half()
    return {
        "metric": v.metric, "run": v.variant, "baseline": v.baseline, "value": v.value,
        "difference": d.value, "standard_error": d.error,
        "interval": None if half is None else [d.value - half, d.value + half],
        "df": d.df if d.df < 1e9 else None, "count": d.count, "unit": d.unit, "paired": d.paired,
        "note": v.refused or d.note, "p": d.p, "p_exact": d.exact, "p_corrected": v.corrected,
        "verdict": v.words, "better": v.better, "needed": d.needed() if v.separated is False else None,
    }  # fmt: skip


def _tables(verdicts: Sequence[Verdict]) -> list[Table]:
    """Return a table for each number."""
    out = []
    for metric in dict.fromkeys(v.metric for v in verdicts):
        of = [v for v in verdicts if v.metric == metric]
        rows, at = [cells(v) for v in of], COLUMNS.index("paired")
        same = len({row[at] for row in rows}) == 1 and not rows[0][at].startswith("no") and rows[0][at]
        title = f"{metric} against {of[0].baseline}{(same and f', paired: {same}') or ''}"
        table = Table(title=plain(title), title_justify="left")
        shown = [i for i in range(len(COLUMNS)) if not (same and i == at)]
        for column in (COLUMNS[i] for i in shown):
            table.add_column(column, overflow="fold", min_width=max(map(len, column.split())))
        for row in rows:
            table.add_row(*(plain(row[i]) for i in shown))
        out.append(table)
    return out
