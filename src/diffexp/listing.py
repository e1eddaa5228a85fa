"""diffexp runs [FOLDER]: the runs and sweeps below a folder, one line each, with what continues them.

What lies there may be a stranger's: no link is followed, and nothing is loaded but small JSON files.
"""

import argparse
import json
import math
import os
import shlex
import time
from calendar import timegm
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from diffexp.config.argv import PROGRAMS, command
from diffexp.config.suggest import goes_on, override, path_of
from diffexp.config.untrusted import harmless
from diffexp.errors import DataError, DiffexpError
from diffexp.escape import line, plain
from diffexp.files import last_rows, read_json
from diffexp.locks import busy
from diffexp.report.table import better_of, numbers
from diffexp.run.below import below
from diffexp.run.plan import read_plan
from diffexp.run.results import LOCK, PLAN, ROWS, is_number, moderate, refuse_links, rows

_ENDS = {"Interrupted": "stopped", "DivergedError": "diverged", "KeyboardInterrupt": "stopped"}


@dataclass(frozen=True)
class Run:
    """One line of the list. path: of its folder; kind: run or sweep; state: finished, running, stopped (by a
    signal), interrupted (its process is gone), diverged, failed or damaged; started: in seconds since 1970;
    steps: of the optimizer, or "done/all" jobs of a sweep; metric, value: its first result; goes_on: the
    command line that continues it.
    """

    path: str
    kind: str
    state: str
    started: float | None = None
    steps: int | str | None = None
    metric: str | None = None
    value: float | None = None
    goes_on: str | None = None


def runs(typed: Sequence[str]) -> int:
    """Print the list that was asked for; return the exit code. Raises DiffexpError."""
    parser = argparse.ArgumentParser(
        prog=f"{shlex.join(command())} runs", description="List runs and sweeps."
    )
    parser.add_argument("folder", nargs="?", default="runs", help="where to look; runs/ without it")
    parser.add_argument("--json", action="store_true", help="one JSON object a line, for scripts")
    asked = parser.parse_args(list(typed))
    folder = path_of(asked.folder, "FOLDER")
    if not folder.is_dir():
        do = "give a folder with runs in it, or run something first"
        raise DataError(f"there is no folder {folder}", str(folder), do)
    listed = sorted(map(described, below(folder)), key=lambda run: (run.started or 0, run.path))
    if asked.json:
        print("".join(f"{json.dumps(asdict(run))}\n" for run in listed), end="")
        return 0
    Console().print(_table(listed, folder))
    if more := [line(run.goes_on) for run in listed if run.goes_on]:
        print("to go on:", *more, sep="\n  ")
    return 0


def described(folder: Path) -> Run:
    """Return the line of the run or the sweep in a folder, whatever is in its files."""
    try:
        return _sweep(folder) if (folder / PLAN).is_file() else _run(folder)
    except (DiffexpError, OSError, ValueError):
        return Run(str(folder), "sweep" if (folder / PLAN).is_file() else "run", "damaged")


def _run(folder: Path) -> Run:
    refuse_links(folder / "run.json")
    record, inside = read_json(folder / "run.json"), folder / "checkpoints"
    if not isinstance(record.get("results"), (Mapping, type(None))):
        raise ValueError("results are an object")
    state = _state(folder, record.get("state"))
    measured = _finite(numbers(record))
    name = next((k for k in measured if not k.endswith("loss")), next(iter(measured), None))
    steps, last = _last(folder)
    if name is None:
        name = next((k for k in last if k.startswith("val/") and not k.endswith("loss")), None)
        measured = last
    more = state not in ("finished", "running") and _saved(inside)
    return Run(
        str(folder), "run", state, _seconds(record.get("started")), steps, name,
        measured.get(name) if name else None, goes_on(folder) if more else None,
    )  # fmt: skip


def _state(folder: Path, ended: object) -> str:
    if ended == "running":
        return "running" if busy(folder / LOCK) else "interrupted"
    if not isinstance(ended, str):
        raise ValueError("it has no state")
    return "finished" if ended == "done" else _ENDS.get(ended.partition(":")[0], "failed")


def _last(folder: Path) -> tuple[int | None, dict[str, float]]:
    """Return the last step that was logged or saved, and the last values of each key."""
    values = dict[str, float]()
    for row in last_rows(folder / "metrics.jsonl"):
        values |= _finite(row)
    steps = [values.pop("step", None)]
    if _saved(folder / "checkpoints"):
        with suppress(DataError, OSError):
            note = read_json(folder / "checkpoints" / "last.ckpt.json")
            steps.append(_finite(note).get("step"))
    return max((int(step) for step in steps if step is not None), default=None), values


def _saved(folder: Path) -> bool:
    return (folder / "last.ckpt").is_file() and not folder.is_symlink()


def _finite(values: Mapping[str, Any]) -> dict[str, float]:
    return {key: value for key, value in values.items() if moderate(value) and is_number(value)}


def _seconds(text: object) -> float | None:
    try:
        return float(timegm(time.strptime(str(text), "%Y-%m-%dT%H:%M:%SZ")))
    except (ValueError, OverflowError):
        return None


def _sweep(folder: Path) -> Run:
    refuse_links(folder / PLAN, folder / ROWS)
    plan, ended = read_plan(folder), rows(folder)
    of_plan = [ended.get(cell["id"], {}) for cell in plan["cells"]]
    states = [row.get("state") for row in of_plan]
    done, every = states.count("done"), len(states)
    if plan.get("complete") is False:  # it ended before all of its lines were composed
        every = max(every + 1, math.prod(map(len, plan["varying"].values())))
    state = "finished" if done == every else "failed" if "failed" in states else "interrupted"
    state = "running" if busy(folder / LOCK) else state
    first = next((row for row in of_plan if row.get("state") == "done"), {})
    layout, measured = plan["layout"], _finite(numbers(first))
    name = layout.get("metric") if layout.get("metric") in measured else next(iter(measured), None)
    begun = min(filter(None, (_seconds(row.get("started")) for row in of_plan)), default=None)
    values = [row["results"][name] for row in of_plan if name in _finite(numbers(row))] if name else []
    high = bool(name) and better_of(name, of_plan) == "higher"
    value = (max if high else min)(values, default=None) if name else None
    more = _again(folder, plan["command"]) if state in ("interrupted", "failed") else None
    return Run(str(folder), "sweep", state, begun, f"{done}/{every}", name, value, more)


def _again(folder: Path, text: str) -> str | None:
    """Return the command of a sweep, with this program in the place of the one that it names; None for what
    is no command of ours: nobody is to paste a stranger's.
    """
    try:
        words = shlex.split(text)
    except ValueError:
        return None
    program = next((p for p in PROGRAMS if words[: len(p)] == p), None)
    if program is None:
        return None
    typed = words[len(program) :]
    if not harmless(typed):
        return None
    there = os.path.abspath(folder.parent.parent) == os.path.abspath("runs")
    here = [] if there else [override("hydra.sweep.dir", folder)]
    return line(shlex.join([*command(), *typed, *here]))


def _table(listed: Sequence[Run], folder: Path) -> Table:
    table = Table(title=f"{len(listed)} runs and sweeps", title_justify="left")
    for column in ("run", "state", "age", "steps", "metric", "value"):
        table.add_column(column, overflow="fold", no_wrap=column == "run")
    for run in listed:
        name = os.path.relpath(run.path, folder)
        value = "" if run.value is None else f"{run.value:.4g}"
        steps = "" if run.steps is None else str(run.steps)
        texts = [line(name), run.state, age(run.started), steps, line(run.metric or ""), value]
        table.add_row(*map(plain, texts))
    return table


def age(started: float | None) -> str:
    """Return how long ago a time was, in its largest unit; "" for an unknown one."""
    if started is None:
        return ""
    seconds = max(0.0, time.time() - started)
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return f"{seconds:.0f} s"
