"""Jobs of a sweep on a cluster: submitted, looked after, and submitted again when they were preempted.

All machines see the folder of the sweep; each job writes its own row, as it does without a cluster.
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from diffexp.config.argv import begins
from diffexp.errors import ConfigError
from diffexp.escape import first_line
from diffexp.sweep.cell import Cell
from diffexp.sweep.worker import KILLED, STOPPED, News, Steps, draw, failed, perform

POLL = 1.0  # seconds
AGAIN = 20  # times that a job may be preempted


class Lost(Exception):
    """A job has ended without an answer."""


class Cluster(Protocol):
    """The place where jobs run; `submit` returns a ticket for each."""

    def check(self) -> None:
        """Raise ConfigError where its library is not installed, or it cannot be had."""
        ...

    def submit(self, job: Callable[[], News]) -> Any: ...

    def ended(self, ticket: Any) -> bool: ...

    def answer(self, ticket: Any) -> News:
        """Return the answer of a job that has ended. Raises Lost."""
        ...

    def cancel(self, ticket: Any) -> None: ...


class OnNode:
    """The call that the other machine makes. submitit asks `checkpoint` what to do when it preempts a job
    that does not save by itself: the same again.
    """

    def __init__(self, folder: Path, cell: Cell, threads: int) -> None:
        self.folder, self.cell, self.threads = folder.resolve(), cell, threads
        self.begun, self.cwd = begins(), Path.cwd()

    def __call__(self) -> News:
        import torch

        os.chdir(self.cwd)  # the paths that were typed are relative to it
        # or Lightning takes Slurm's tasks for its ranks, and its signals for itself
        os.environ["SLURM_JOB_NAME"] = "interactive"

        torch.set_num_threads(self.threads)
        return perform(self.folder, self.cell, self.begun)

    def checkpoint(self, *_: Any) -> Any:
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def run_on(
    cluster: Cluster,
    folder: Path,
    jobs: int,
    threads: int,
    lines: Steps,
    stopping: Callable[[], bool],
) -> Iterator[News]:
    """Keep at most `jobs` of the cells in the cluster's queue, and yield what happens; when `stopping`, no
    more are submitted. Lines are composed between two looks at the queue. What is left at an exception is
    cancelled.
    """
    waiting, refused, times, more = list[Cell](), list[News](), Counter[str](), True
    running: list[tuple[Any, Cell, float]] = []
    looked = time.monotonic()
    try:
        while running or more or (waiting and not stopping()):
            more = not stopping() and draw(lines, waiting, refused)
            yield from refused
            refused.clear()
            while waiting and not stopping() and len(running) < jobs:
                cell = waiting.pop(0)
                running.append((cluster.submit(OnNode(folder, cell, threads)), cell, time.monotonic()))
                yield News(cell, "started")
            if not running or (more and time.monotonic() - looked < POLL):
                continue
            if not more:
                time.sleep(POLL)
            looked = time.monotonic()
            for ended in [r for r in running if cluster.ended(r[0])]:
                running.remove(ended)
                news = _answer(cluster, folder, *ended)
                if news.code == STOPPED and times[news.cell.id] < AGAIN and not stopping():
                    times[news.cell.id] += 1
                    waiting.insert(0, news.cell)  # it goes on from where it was saved
                else:
                    yield news
    finally:
        for ticket, _, _ in running:
            cluster.cancel(ticket)


def _answer(cluster: Cluster, folder: Path, ticket: Any, cell: Cell, since: float) -> News:
    try:
        return cluster.answer(ticket)
    except Lost as lost:
        return failed(folder, cell, since, str(lost), KILLED)


class Ray:
    """A Ray cluster, or one that is begun on this machine.

    address: null for this machine, auto for the cluster that this process is in, or ray://HOST:10001. cpus
    and gpus: of each job, which may be fractions.
    """

    def __init__(self, address: str | None = None, cpus: float = 1, gpus: float = 0) -> None:
        self.address, self.cpus, self.gpus = address, cpus, gpus

    def check(self) -> None:
        try:
            import ray
        except ImportError as error:
            raise ConfigError(
                "ray is not installed", "hydra/launcher", "pip install 'diffexp[ray]'"
            ) from error
        if not ray.is_initialized():
            own = {} if self.address else {"include_dashboard": False}
            try:
                ray.init(self.address, log_to_driver=False, logging_level="ERROR", **own)  # type: ignore[arg-type]
            except (ConnectionError, RuntimeError, ValueError) as error:
                do = "give hydra.launcher.cluster.address=null for this machine alone"
                what = f"there is no Ray cluster at {self.address} ({error})"
                raise ConfigError(what, "hydra.launcher.cluster.address", do) from error
        # Ray would run a job that was killed three times more, and hide that it was
        self._call = ray.remote(num_cpus=self.cpus, num_gpus=self.gpus, max_retries=0, max_calls=1)(_call)

    def submit(self, job: Callable[[], News]) -> Any:
        return self._call.remote(job)

    def ended(self, ticket: Any) -> bool:
        import ray

        return bool(ray.wait([ticket], timeout=0)[0])

    def answer(self, ticket: Any) -> News:
        import ray
        from ray.exceptions import RayError

        try:
            return ray.get(ticket)
        except RayError as error:
            raise Lost(f"its process was killed: {first_line(error)}") from error

    def cancel(self, ticket: Any) -> None:
        import ray

        ray.cancel(ticket, force=True)


def _call(job: Callable[[], News]) -> News:
    return job()
