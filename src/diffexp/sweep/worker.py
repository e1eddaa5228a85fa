"""Run one cell of a sweep, in whatever process: its output in a file, its row in results.jsonl."""

import contextlib
import os
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from diffexp.config.argv import command_line
from diffexp.config.suggest import override
from diffexp.errors import DataError, DiffexpError, printable
from diffexp.files import descriptor_to_append, make_folder
from diffexp.redact import redact_text
from diffexp.run.results import append, refuse_links
from diffexp.sweep.cell import Cell
from diffexp.training.tracker import first

KILLED = 137
STOPPED = 75
"""Saved and stopped by a signal: the same job goes on from there."""


@dataclass(frozen=True)
class News:
    """News of a cell: started, progress (text, done of total), done or failed (text, code, its row).

    spent: its process may do no other job.
    """

    cell: Cell
    kind: str
    text: str = ""
    done: int = 0
    total: int = 0
    code: int = 0
    row: Mapping[str, Any] = field(default_factory=dict)
    spent: bool = False


Steps = Iterator[Cell | News | None]
"""The lines of a sweep as they are composed: a job to run, news of one that cannot be, or nothing to do."""


def draw(lines: Steps, waiting: list[Cell], news: list[News]) -> bool:
    """Compose one more line, and append its cell or its news; return False for no more."""
    try:
        step = next(lines)
    except StopIteration:
        return False
    if isinstance(step, Cell):
        waiting.append(step)
    elif step is not None:
        news.append(step)
    return True


def perform(folder: Path, cell: Cell, begun: Sequence[str]) -> News:
    """Run one cell of a sweep in this process; begun: how its command line begins, for its other ranks."""
    since = time.monotonic()
    for name in ("WANDB_SWEEP_ID", "WANDB_RUN_ID"):  # of the sweep, where an agent of W&B has begun it
        os.environ.pop(name, None)
    try:
        make_folder(folder / "logs")
        refuse_links(cell.folder.parent, cell.folder)
        log = descriptor_to_append(folder / "logs" / f"{cell.id}.txt")
    except DataError as error:  # a link, which somebody has put there
        news, outcome = _failed(cell, str(error), error.code)
    else:
        # what Lightning starts again for the other ranks is this job, not the sweep
        typed = [*cell.typed, override("dir", cell.folder)]
        with _output_to(log), command_line(typed, begun):
            news, outcome = _tried(cell)
    written = row(cell, since, news.kind, **outcome)
    if first():
        append(folder, written)
    return replace(news, row=written, spent=_trains(cell))


def _trains(cell: Cell) -> bool:
    """Return whether the job leaves a process that no other may use: Lightning's ranks, seeds and signals."""
    from diffexp.run.job import Job, kind_of_task

    with contextlib.suppress(DiffexpError):
        allowed = Job(cell.config, cell.folder).allowed
        return getattr(kind_of_task(cell.config, allowed), "trains", False)
    return False


def failed(folder: Path, cell: Cell, since: float, error: str, code: int) -> News:
    """Write the row of a job that could not say by itself what happened to it."""
    written = row(cell, since, "failed", error=error, code=code)
    append(folder, written)
    return News(cell, "failed", error, code=code, row=written)


def prepare(cell: Cell) -> None:
    """Load what a job like this one will need: modules, checkpoint, images; print and write nothing."""
    from diffexp.run.job import Job

    with _output_to(os.open(os.devnull, os.O_WRONLY)), contextlib.suppress(Exception):
        job = Job(cell.config, cell.folder, cell.typed, cell.choices)
        job.build("task").check(job)


def row(cell: Cell, since: float, state: str, **more: Any) -> dict[str, Any]:
    """Return the row of results.jsonl of a job begun at `since`, a time.monotonic(), which nobody sets."""
    seconds = time.monotonic() - since
    return {
        "id": cell.id,
        "state": state,
        "typed": cell.redacted,
        "folder": f"jobs/{cell.folder.name}",
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - seconds)),
        "seconds": round(seconds, 2),
        **more,
    }


def _tried(cell: Cell) -> tuple[News, dict[str, Any]]:
    from diffexp.tasks.run import run_resolved

    try:
        results = run_resolved(cell.config, cell.folder, cell.typed, cell.choices)
        if "picture" in results:  # a sweep's folder may be moved
            results["picture"] = os.path.relpath(results["picture"], cell.folder)
        return News(cell, "done"), {"results": results}
    except DiffexpError as error:
        code, text = error.code, str(error)
    except (KeyboardInterrupt, SystemExit):
        code, text = STOPPED, "stopped"
    except Exception as error:
        traceback.print_exc()
        code, text = 1, redact_text(f"{type(error).__name__}: {error}")
    print(f"error: {printable(text)}", file=sys.stderr)
    return _failed(cell, text, code)


def _failed(cell: Cell, text: str, code: int) -> tuple[News, dict[str, Any]]:
    return News(cell, "failed", text, code=code), {"error": text, "code": code}


@contextlib.contextmanager
def _output_to(number: int) -> Iterator[None]:
    """Send what this process prints to an open file meanwhile, which is closed then."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    os.dup2(number, 1)
    os.dup2(number, 2)
    os.close(number)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for old, number in zip(kept, (1, 2), strict=True):
            os.dup2(old, number)
            os.close(old)
