"""One job of a sweep, in whatever process it is run: its output in a file, its row in results.jsonl."""

import contextlib
import os
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffexp.errors import DiffexpError
from diffexp.experiment.names import override
from diffexp.experiment.redact import redact_typed
from diffexp.experiment.store import append
from diffexp.experiment.sweep import Cell
from diffexp.training.tracker import first

KILLED = 137
STOPPED = 75
"""Saved and stopped by a signal: the same job goes on from there."""


@dataclass(frozen=True)
class News:
    """Of a cell: started, told (text, done of total), done or failed (text, code)."""

    cell: Cell
    kind: str
    text: str = ""
    done: int = 0
    total: int = 0
    code: int = 0


def perform(folder: Path, cell: Cell, command: str) -> News:
    """Runs the job in this process; `command` is what is typed for it, and for its other ranks."""
    (folder / "logs").mkdir(exist_ok=True)
    # what Lightning starts again for the other ranks is this job, not the sweep
    sys.argv = [command, *cell.typed, override("dir", cell.folder)]
    since = time.time()
    with _output_to(folder / "logs" / f"{cell.id}.txt"):
        news, told = _tried(cell)
    if first():
        append(folder, row(cell, since, news.kind, **told))
    return news


def prepare(cell: Cell) -> None:
    """Loads what a job like this one will need: modules, checkpoint, images. It says and writes nothing."""
    from diffexp.experiment.job import Job

    with _output_to(Path(os.devnull)), contextlib.suppress(Exception):
        job = Job(cell.config, cell.folder, cell.typed, cell.choices)
        job.build("task").check(job)


def trains(cell: Cell) -> bool:
    """Whether a job leaves a process that no other job may use: Lightning's ranks, seeds and signals."""
    return str(cell.config["task"]["_target_"]).endswith(".Train")


def row(cell: Cell, since: float, state: str, **more: Any) -> dict[str, Any]:
    """What results.jsonl says of a job."""
    return {
        "id": cell.id,
        "state": state,
        "typed": redact_typed(cell.typed),
        "folder": f"jobs/{cell.folder.name}",
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(since)),
        "seconds": round(time.time() - since, 2),
        **more,
    }


def _tried(cell: Cell) -> tuple[News, dict[str, Any]]:
    from diffexp.experiment.job import run_resolved

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
        code, text = 1, f"{type(error).__name__}: {error}"
    print(f"error: {text}", file=sys.stderr)
    return News(cell, "failed", text, code=code), {"error": text, "code": code}


@contextlib.contextmanager
def _output_to(path: Path) -> Iterator[None]:
    """What this process prints goes to a file meanwhile."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    with path.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for old, number in zip(kept, (1, 2), strict=True):
            os.dup2(old, number)
            os.close(old)
