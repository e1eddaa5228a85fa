"""Results in a tracker: of a training, of a job of another kind, and of a sweep."""

import csv
import io
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from diffexp.config.build import ALLOWED, build
from diffexp.errors import DiffexpError, DivergedError, Interrupted
from diffexp.escape import is_number
from diffexp.model.find import find
from diffexp.report.table import flat, read
from diffexp.run.console import near, say
from diffexp.run.job import Job, Task
from diffexp.training.tracker import Artifact, TrackedRun, Tracker, safely


class Tracking:
    """A tracker, and the run that it has while it is open. tracker: one's own as well, with `open` and
    `close` alone; kind: of the job, train or evaluate or another.
    """

    def __init__(
        self,
        tracker: Tracker,
        folder: Path,
        name: str,
        kind: str,
        tags: Sequence[str],
        config: Mapping[str, Any],
    ) -> None:
        self.tracker, self.folder = tracker, folder
        self._what = (name, kind, tags, config)
        self.run: TrackedRun | None = None

    @classmethod
    def of(cls, job: Job, kind: str) -> "Tracking":
        """Return that of a job."""
        choices = [f"{group}={option}" for group, option in (job.choices or {}).items()]
        return cls(job.build("logger"), job.folder, job.config["name"], kind, choices, job.public())

    def open(self) -> TrackedRun | None:
        """Return the run, None where there is none to be had."""
        safely(self._open)
        return self.run

    def _open(self) -> None:
        opened = self.tracker.open(self.folder, *self._what)
        if opened is None or isinstance(opened, TrackedRun):
            self.run = opened
        else:
            from diffexp.training.wandb import WandbRun

            self.run = WandbRun(opened, self.folder, getattr(self.tracker, "artifacts", False))

    def end_training(self, results: Mapping[str, Any], step: int) -> None:
        """Show the results of a training, and keep its best and its last checkpoint, which is the latest."""
        if self.run is None:
            return
        summarise(self.run, results)
        for name in ("best", "last") if self.run.artifacts else ():
            file = self.folder / "checkpoints" / f"{name}.ckpt"
            if file.is_file():
                about = _numbers(results) | {"step": step} if name == "last" else {}
                safely(self.run.keep, Artifact("model", "model", {file.name: file}, [name], about))

    def alert(self, error: BaseException) -> None:
        """Tell whoever is away that the run has diverged, or was stopped."""
        stopped = isinstance(error, Interrupted)
        if self.run is not None and (stopped or isinstance(error, DivergedError)):
            name = self._what[0]
            safely(self.run.alert, f"{name}: {'stopped' if stopped else 'diverged'}", str(error), stopped)

    def close(self, failed: bool = False) -> None:
        """End the run, and say how it is looked at."""
        run, self.run = self.run, None
        safely(partial(self.tracker.close, failed=failed))
        if run is not None:
            safely(_look, run)


def _look(run: TrackedRun) -> None:
    for text, path in run.look():
        say(f"{text} {near(path)}")


def track(job: Job, results: Mapping[str, Any], kind: str, task: Task) -> None:
    """Track a job as one run: numbers and cards in its summary, its picture, and its files where these are
    kept; its type is `kind`.
    """
    tracking = Tracking.of(job, kind)
    run = tracking.open()
    if run is None:
        return
    try:
        source = getattr(task, "ckpt", None)
        if run.artifacts and isinstance(source, str):
            safely(_use, run, source)
        summarise(run, results)
        picture = Path(str(results.get("picture", "")))
        if picture.is_file():
            safely(run.image, "samples", picture)
        page = Path(str(results.get("curves", "")))
        if page.is_file():
            safely(run.page, "curves", page.read_text(encoding="utf-8"))
        kept = getattr(task, "artifact", None)
        if run.artifacts and kept is not None and (artifact := kept(job, results)) is not None:
            safely(run.keep, artifact)
    finally:
        tracking.close()


def _use(run: TrackedRun, source: str) -> None:
    try:
        run.use(find(source))
    except DiffexpError as error:  # it was there a moment ago
        say(f"the checkpoint is not recorded: {error.what}")


def summarise(run: TrackedRun, results: Mapping[str, Any]) -> None:
    """Show the numbers of a run, and how each was made."""
    safely(run.summary, _numbers(results), results.get("cards", {}))


def _numbers(results: Mapping[str, Any]) -> dict[str, float]:
    return {key: value for key, value in results.items() if isinstance(value, (int, float))}


def track_sweep(folder: Path, config: Mapping[str, Any]) -> None:
    """Track a sweep as a run of its own: the table of its cells, and its report. A tracker that fails costs
    this alone.
    """
    try:
        tracker: Tracker = build(config.get("logger"), "logger", (*ALLOWED, *config.get("plugins", ())))
        snapshot = read(folder)
        command = {"command": snapshot.plan["command"]}
        tracking = Tracking(tracker, folder, config["name"], "sweep", [], command)
        run = tracking.open()
        if run is None:
            return
        try:
            head, *rows = csv.reader(io.StringIO(flat(snapshot)))
            safely(run.table, "cells", head, by_column(head, rows))
            safely(run.page, "report", (folder / "report.html").read_text(encoding="utf-8"))
        finally:
            tracking.close()
    except Exception as error:  # of the tracker: its kinds have no common type
        say(f"the sweep is not tracked: {error}")


NAMES = ("id", "folder", "state", "error")  # never numbers, though an id may look like one: 12e4567


def by_column(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[list[float | str | None]]:
    """Return the values of the rows: numbers in a column of nothing else, for W&B wants one type in each."""
    columns = [list(column) for column in zip(*rows, strict=True)]
    typed = [
        [float(text) if text else None for text in column]
        if name not in NAMES and all(is_number(text) for text in column if text)
        else [text or None for text in column]
        for name, column in zip(head, columns, strict=True)
    ]
    return [list(row) for row in zip(*typed, strict=True)]
