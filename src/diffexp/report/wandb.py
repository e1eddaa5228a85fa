"""Results as runs of Weights & Biases: of a job that trains nothing, and of a sweep."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diffexp.config.build import ALLOWED, build
from diffexp.escape import is_number
from diffexp.report.table import flat, read
from diffexp.run.console import near, say
from diffexp.run.job import Job
from diffexp.training.tracker import Tracker


def tags(job: Job) -> list[str]:
    """Return group=option for every choice."""
    return [f"{group}={option}" for group, option in (job.choices or {}).items()]


def track(job: Job, results: Mapping[str, Any], kind: str) -> None:
    """Track a job as one run: numbers and cards in its summary, and its picture; job_type is `kind`."""
    tracker: Tracker = job.build("logger")
    run = tracker.open(job.folder, job.config["name"], kind, tags(job), job.public())
    if run is None:
        return
    import wandb

    try:
        summarise(run, results)
        picture = Path(str(results.get("picture", "")))
        if picture.is_file():
            run.log({"samples": [wandb.Image(str(picture))]})
    finally:
        tracker.close()
    tell_sync(job.folder)


def summarise(run: Any, results: Mapping[str, Any]) -> None:
    """Put the numbers of a run, and how each was made, into W&B's summary."""
    numbers = {k: v for k, v in results.items() if isinstance(v, (int, float))}
    run.summary.update(numbers | {"cards": results.get("cards", {})})


def track_sweep(folder: Path, config: Mapping[str, Any]) -> None:
    """Track a sweep as a run of its own: the table of its cells, and its report. A tracker that fails costs
    this alone.
    """
    node = config.get("logger")
    try:
        tracker: Tracker = build(node, "logger", (*ALLOWED, *config.get("plugins", ())))
        snapshot = read(folder)
        run = tracker.open(folder, config["name"], "sweep", [], {"command": snapshot.plan["command"]})
        if run is None:
            return
        import wandb

        try:
            head, *rows = csv.reader(io.StringIO(flat(snapshot)))
            cells = wandb.Table(columns=list(head), data=by_column(head, rows))
            report = (folder / "report.html").read_text(encoding="utf-8")
            run.log({"cells": cells, "report": wandb.Html(report, inject=False)})
        finally:
            tracker.close()
    except Exception as error:  # of the tracker: its kinds have no common type
        say(f"the sweep is not in W&B: {error}")
        return
    tell_sync(folder)


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


def tell_sync(folder: Path) -> None:
    """Say how an offline run is sent."""
    for run in sorted((folder / "wandb").glob("offline-run-*")):
        say(f"W&B, offline; to send it: wandb sync {near(run)}")
