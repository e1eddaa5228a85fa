"""task=votes: what the answers of several people to a task=vote say, with intervals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from diffexp.comparison.answers import Voter, read_voters
from diffexp.comparison.ballot import Ballot, load
from diffexp.comparison.tally import Between, Tally, tally
from diffexp.comparison.votes import Estimate
from diffexp.config.suggest import path_of
from diffexp.errors import ConfigError
from diffexp.escape import plain
from diffexp.files import write
from diffexp.report.votes_page import Rows, about, markdown, page, tables
from diffexp.run.console import near, say
from diffexp.run.folder import Record
from diffexp.run.job import Job, Task


@dataclass(frozen=True)
class Votes(Task):
    """path: the folder of the task=vote; answers: files that its page has saved, one of each voter;
    most_failed: voters who failed more checks than that are left out; null for none.
    """

    path: str = ""
    answers: tuple[str, ...] = ()
    most_failed: int | None = None

    def __post_init__(self) -> None:
        if self.most_failed is not None and self.most_failed < 0:
            do = "give 0 or more, or null to leave nobody out"
            raise ConfigError(f"most_failed={self.most_failed}", "task.most_failed", do)

    def check(self, job: Job) -> None:
        self._counted(job)

    def _counted(self, job: Job) -> tuple[Ballot, Tally, list[Voter], list[Voter]]:
        """Return the outcome, those who count, and those who do not. Raises ConfigError, DataError."""
        if not self.path:
            raise ConfigError("no vote is named", "task.path", "type task.path=FOLDER, of a task=vote")
        of = load(path_of(self.path, "task.path"))
        if not self.answers:
            raise ConfigError("no answers are named", "task.answers", "type task.answers=[A.json,B.json]")
        everyone = read_voters(of, [path_of(file, "task.answers") for file in self.answers])
        most = math.inf if self.most_failed is None else self.most_failed
        voters = [v for v in everyone if v.failed <= most]
        if not any(set(v.given) & {q.id for q in of.questions if not q.check} for v in voters):
            if not voters:
                what, do = "all voters failed more checks than that", "give a larger task.most_failed"
                raise ConfigError(what, "task.most_failed", do)
            raise ConfigError("only checks were answered", "task.answers", "give answers of more people")
        return of, tally(of, voters, job.config["seed"]), voters, [v for v in everyone if v.failed > most]

    def run(self, job: Job, record: Record) -> None:
        of, outcome, voters, left_out = self._counted(job)
        facts, shown = about(outcome, len(voters), len(left_out)), tables(of.kind, outcome, voters, left_out)
        path = job.folder / "votes.html"
        write(job.folder / "votes.md", markdown(facts, shown))
        write(path, page(facts, of.kind, outcome, shown))
        record.results |= results(of, outcome, voters, left_out) | {"curves": str(path)}
        for rows in shown:
            Console().print(_table(rows))
        for name, text in facts.items():
            say(f"{name}: {text}")
        if left_out:
            names = ", ".join(f"{v.name} ({v.failed} of {v.checks})" for v in left_out)
            say(f"left out, for they failed more than {self.most_failed} checks: {names}")
        say(f"page: {near(path)}   everything: {near(job.folder)}/")


def results(of: Ballot, outcome: Tally, voters: Sequence[Voter], left_out: Sequence[Voter]) -> dict[str, Any]:
    """Return the numbers of a vote, with their cards, as plain values for a program."""
    name, card = "win_rate" if of.kind == "pairs" else "mos", {"voters": len(voters), "page": of.page}
    kinds = ((name, outcome.runs), ("bradley_terry", outcome.scores))
    every = {f"{kind}/{run}": e for kind, runs in kinds for run, e in runs.items()}
    shared = {"agreement": outcome.alpha, "same": outcome.same, "left": outcome.left}
    out: dict[str, Any] = {key: e.value for key, e in every.items()}
    out |= {key: value for key, value in shared.items() if math.isfinite(value)}
    out |= {"answers": outcome.answers, "voters": len(voters), "left_out": len(left_out)}
    out["failed_checks"] = sum(v.failed for v in voters)
    out["cards"] = {key: card | _described(e) for key, e in every.items()}
    out["between"] = [_pair(b) for b in outcome.between]
    people = [(v, False) for v in voters] + [(v, True) for v in left_out]
    out["people"] = [
        {"voter": v.name, "answers": len(v.given), "failed": v.failed, "checks": v.checks, "left_out": gone}
        for v, gone in people
    ]
    return out


def _described(e: Estimate) -> dict[str, Any]:
    return {"n": e.count, "interval": e.interval and list(e.interval), "interval_by": e.by}


def _pair(b: Between) -> dict[str, Any]:
    counts = {} if b.counts is None else dict(zip(("better", "same", "worse"), b.counts, strict=True))
    return {"run": b.a, "against": b.b, "value": b.estimate.value, **counts, **_described(b.estimate)}


def _table(of: Rows) -> Table:
    out = Table(title=plain(of.title), title_justify="left")
    for column in of.head:
        out.add_column(column, overflow="fold")
    for row in of.rows:
        out.add_row(*map(plain, row))
    return out
