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
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from pathlib import Path

from diffexp.config.argv import begins
from diffexp.errors import DiffexpError, ResourceError, printable
from diffexp.progress import listening
from diffexp.sweep.cell import Cell
from diffexp.sweep.worker import KILLED, News, Steps, draw, failed, perform, prepare


class _Worker:
    """A process and the cell that it is at."""

    def __init__(self, folder: Path, threads: int) -> None:
        context = mp.get_context("spawn")  # a fork would inherit torch's threads, without their locks' owners
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=_work, args=(other, folder, threads), daemon=False)
        self.process.start()
        other.close()
        self.cell: Cell | None = None
        self.since, self.used, self.spent = 0.0, False, False

    def give(self, cell: Cell) -> None:
        self.cell, self.since, self.used = cell, time.monotonic(), True
        self.tell(perform, cell)

    def tell(self, do: Callable[..., object], cell: Cell) -> None:
        with contextlib.suppress(OSError):  # the worker may have died meanwhile, which its sentinel shows
            self.pipe.send((do, cell))


class Pool:
    """Processes for `jobs` cells at a time. The first begin at once: they import while the first cell is
    composed.
    """

    def __init__(self, folder: Path, jobs: int, threads: int) -> None:
        self.folder, self.jobs, self.threads = folder, jobs, threads
        self.workers = [_Worker(folder, threads) for _ in range(jobs)]

    def run(self, lines: Steps, stopping: Callable[[], bool]) -> Iterator[News]:
        """Run the cells of the lines, and yield what happens; when `stopping`, no more are begun.

        A line is composed whenever nothing else is to be done, so that a worker that becomes free need not
        wait for one.
        """
        waiting, news = list[Cell](), list[News]()
        while True:
            while waiting and not stopping() and sum(w.cell is not None for w in self.workers) < self.jobs:
                self._free().give(cell := waiting.pop(0))
                news.append(News(cell, "started"))
            yield from news  # what hears it may take its time: all are at work
            news = []
            more = not stopping() and draw(lines, waiting, news)
            busy = [w for w in self.workers if w.cell is not None]
            if not busy and not more:
                return
            ends = [w.pipe for w in busy] + [w.process.sentinel for w in busy]
            ready = wait(ends, timeout=0 if more else 0.5)
            for worker in busy:
                if worker.pipe in ready or worker.process.sentinel in ready:
                    news += _heard(self.folder, worker)
            self._clear()

    def _free(self) -> _Worker:
        idle = (w for w in self.workers if w.cell is None and not w.spent and w.process.is_alive())
        worker = next(idle, None)
        if worker is None:
            self.workers.append(worker := _Worker(self.folder, self.threads))
        return worker

    def _clear(self) -> None:
        """Part with the processes that have ended, or that no other job may use."""
        for worker in [w for w in self.workers if w.spent and w.cell is None]:
            worker.pipe.close()
            worker.process.join()
            self.workers.remove(worker)
        self.workers = [w for w in self.workers if w.process.is_alive() or w.cell is not None]

    def expect(self, cell: Cell) -> None:
        """Have the workers load what a cell like this one needs, before the cells are run."""
        for worker in self.workers:
            worker.tell(prepare, cell)

    def close(self) -> None:
        """End all processes, also those that are at work or have not begun."""
        for worker in self.workers:
            if worker.cell is not None or not worker.used:
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
                worker.cell, worker.spent = None, news.spent
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
    yield failed(folder, cell, worker.since, text, KILLED)


def _work(pipe: Connection, folder: Path, threads: int) -> None:
    """Work as a process of the pool, which dies with the launcher, and leaves Ctrl-C to it."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # Linux: PR_SET_PDEATHSIG
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import torch

    import diffexp.tasks.evaluate  # noqa: F401  (and all that it needs, before there is a job)

    torch.set_num_threads(threads)
    begun = begins()
    while True:
        try:
            do, cell = pipe.recv()
        except (EOFError, OSError):
            return _leave()
        if do is prepare:
            prepare(cell)
            continue

        def listen(text: str, done: int, total: int, cell: Cell = cell) -> None:
            pipe.send(News(cell, "progress", printable(text), done, total))

        try:
            with listening(listen):
                news = perform(folder, cell, begun)
        except (DiffexpError, OSError) as error:  # its log or its row cannot be written
            news = News(cell, "failed", str(error), code=getattr(error, "code", ResourceError.code))
        pipe.send(news)
        if news.spent:
            return


def _leave() -> None:
    """Exit at once: to take torch apart takes longer than many a job."""
    sys.stdout.flush()
    sys.stderr.flush()
    if "wandb" in sys.modules:
        sys.modules["wandb"].teardown()
    os._exit(0)
