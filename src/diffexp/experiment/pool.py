"""Processes that run the jobs of a sweep, one job at a time each, and keep what is expensive between them:
the imports, the model, the extractor. A process that dies costs the job it was at; another takes its place.
"""

import contextlib
import ctypes
import multiprocessing as mp
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from diffexp.errors import DiffexpError
from diffexp.experiment.names import override
from diffexp.experiment.record import blotted
from diffexp.experiment.store import append
from diffexp.experiment.sweep import Cell

KILLED = 137


@dataclass(frozen=True)
class News:
    """Of a cell: started, told (text, done of total), done or failed (text, code)."""

    cell: Cell
    kind: str
    text: str = ""
    done: int = 0
    total: int = 0
    code: int = 0


class _Worker:
    """A process and the cell that it is at."""

    def __init__(self, folder: Path, threads: int) -> None:
        context = mp.get_context("spawn")  # a fork would inherit torch's threads, without their locks' owners
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=_work, args=(other, folder, threads), daemon=False)
        self.process.start()
        other.close()
        self.cell: Cell | None = None
        self.since, self.spent = 0.0, False

    def give(self, cell: Cell) -> None:
        self.cell, self.since = cell, time.time()
        self.pipe.send(cell)


def run_all(
    folder: Path, cells: Sequence[Cell], jobs: int, threads: int, stopping: Callable[[], bool]
) -> Iterator[News]:
    """Runs the cells, `jobs` at a time, and yields what happens; when `stopping`, no more are begun."""
    waiting, workers = list(cells), list[_Worker]()
    try:
        while waiting or any(w.cell for w in workers):
            while waiting and not stopping() and sum(w.cell is not None for w in workers) < jobs:
                worker = next((w for w in workers if w.cell is None and not w.spent), None)
                if worker is None:
                    workers.append(worker := _Worker(folder, threads))
                worker.give(cell := waiting.pop(0))
                yield News(cell, "started")
            busy = [w for w in workers if w.cell is not None]
            if not busy:
                return
            ready = wait([w.pipe for w in busy] + [w.process.sentinel for w in busy], timeout=0.5)
            for worker in busy:
                if worker.pipe in ready or worker.process.sentinel in ready:
                    yield from _heard(folder, worker)
            for worker in [w for w in workers if w.spent and w.cell is None]:
                worker.pipe.close()
                worker.process.join()
                workers.remove(worker)
            workers = [w for w in workers if w.process.is_alive() or w.cell is not None]
    finally:
        for worker in workers:
            if worker.cell is not None:
                worker.process.terminate()
            worker.pipe.close()
            worker.process.join(10)


def _heard(folder: Path, worker: _Worker) -> Iterator[News]:
    cell = worker.cell
    assert cell is not None
    try:
        while worker.pipe.poll():
            news: News = worker.pipe.recv()
            if news.kind in ("done", "failed"):
                worker.cell, worker.spent = None, trains(cell)
            yield news
    except (EOFError, OSError):
        pass
    if worker.cell is None or worker.process.is_alive():
        return
    worker.process.join()
    code = worker.process.exitcode or 0
    text = (
        f"its process was killed by {signal.Signals(-code).name}"
        if code < 0
        else f"its process ended with {code}"
    )
    worker.cell = None
    append(folder, row(cell, worker.since, "failed", error=text, code=KILLED))
    yield News(cell, "failed", text, code=KILLED)


def trains(cell: Cell) -> bool:
    """Whether a job leaves a process that no other job may use: Lightning's ranks, seeds and signals."""
    return str(cell.config["task"]["_target_"]).endswith(".Train")


def row(cell: Cell, since: float, state: str, **more: Any) -> dict[str, Any]:
    """What results.jsonl says of a job."""
    return {
        "id": cell.id,
        "state": state,
        "typed": blotted(cell.typed),
        "folder": f"jobs/{cell.folder.name}",
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(since)),
        "seconds": round(time.time() - since, 2),
        **more,
    }


def _work(pipe: Connection, folder: Path, threads: int) -> None:
    """The process. It dies with the launcher, and leaves Ctrl-C to it."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # Linux: PR_SET_PDEATHSIG
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import torch

    from diffexp.training import progress

    torch.set_num_threads(threads)
    command, logs = sys.argv[0], folder / "logs"
    logs.mkdir(exist_ok=True)
    while True:
        try:
            cell: Cell = pipe.recv()
        except (EOFError, OSError):
            return

        def listen(text: str, done: int, total: int, cell: Cell = cell) -> None:
            pipe.send(News(cell, "told", text, done, total))

        progress.listener = listen
        # what Lightning starts again for the other ranks is this job, not the sweep
        sys.argv = [command, *cell.typed, override("dir", cell.folder)]
        since = time.time()
        with _output_to(logs / f"{cell.id}.txt"):
            news, told = _tried(cell)
        if os.environ.get("LOCAL_RANK", "0") == "0":
            append(folder, row(cell, since, news.kind, **told))
        pipe.send(news)
        if trains(cell):
            return


def _tried(cell: Cell) -> tuple[News, dict[str, Any]]:
    from omegaconf import OmegaConf

    from diffexp.experiment.job import run_job

    try:
        results = run_job(OmegaConf.create(cell.config), cell.folder, list(cell.typed), cell.choices)
        if "picture" in results:  # a sweep's folder may be moved
            results["picture"] = os.path.relpath(results["picture"], cell.folder)
        return News(cell, "done"), {"results": results}
    except DiffexpError as error:
        code, text = error.code, str(error)
    except (KeyboardInterrupt, SystemExit):
        code, text = 75, "stopped"
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
