"""A sweep from its composed jobs to its table: plan, check, run what is left, show what happens."""

import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from diffexp.errors import ConfigError, DiffexpError
from diffexp.experiment import cli
from diffexp.experiment.board import Board
from diffexp.experiment.build import build
from diffexp.experiment.pool import Pool
from diffexp.experiment.redact import redact_typed
from diffexp.experiment.store import alone, remove_if_empty, rows
from diffexp.experiment.sweep import Cell, identity, left, varying, write_plan
from diffexp.experiment.work import News

Composed = tuple[DictConfig, list[str], dict[str, Any]]
Runner = Callable[[Sequence[Cell], Callable[[], bool]], Iterator[News]]
"""Told the cells, and whether to stop."""


def launch(
    config: DictConfig,
    composed: Iterable[Composed],
    jobs: int,
    threads: int | None,
    cluster: DictConfig | None = None,
) -> None:
    """Runs the jobs of a sweep; what fails is told, and raises at the end. Raises DiffexpError."""
    folder = Path(str(config.hydra.sweep.dir))
    (folder / "multirun.yaml").unlink(missing_ok=True)  # Hydra's, with secrets; plan.json is ours
    try:
        if jobs < 1:
            raise ConfigError(f"jobs={jobs}", "hydra.launcher.jobs", "give 1 or more")
        there = None if cluster is None or config.get("dry_run") else _cluster(cluster)
    except DiffexpError:
        remove_if_empty(folder)
        raise
    with alone(folder), _runner(folder, jobs, threads, there, config) as (runner, expect):
        chosen, cells = _chosen(config), list[Cell]()
        for cfg, typed, choices in composed:
            cells.append(_cell(folder, cfg, [*chosen, *typed], choices))
            if len(cells) == 1:
                expect(cells[0])
        if config.get("dry_run"):
            return _show_plan(folder, cells)
        write_plan(folder, cells, OmegaConf.to_container(config.sweep), config.name, _command())  # type: ignore[arg-type]
        todo = left(folder, cells)
        done = len(cells) - len(todo)
        print(f"{len(cells)} jobs, {done} of them done before: {folder}/", flush=True)
        stopped = _run(folder, cells, todo, runner)
        _end(folder, cells, stopped)


def _cluster(node: DictConfig) -> Any:
    made = build(OmegaConf.to_container(node, resolve=True), "hydra.launcher.cluster")
    made.check()
    return made


@contextmanager
def _runner(
    folder: Path, jobs: int, threads: int | None, there: Any, config: DictConfig
) -> Iterator[tuple[Runner, Callable[[Cell], None]]]:
    """What runs the jobs, and yields what happens; and whom to tell of the first before they are all
    known.
    """
    cores, told = len(os.sched_getaffinity(0)), int(os.environ.get("OMP_NUM_THREADS") or 0)
    if there is not None:
        from diffexp.experiment.cluster import run_on

        each = threads or max(1, round(getattr(there, "cpus", 0)) or told or cores // jobs)
        yield partial(run_on, there, folder, jobs, each), lambda cell: None
        return
    pool = Pool(folder, 0 if config.get("dry_run") else jobs, threads or told or max(1, cores // jobs))
    try:
        yield pool.run, pool.expect
    finally:
        pool.close()


def _chosen(config: DictConfig) -> list[str]:
    """group=option for what a sweep file overrides in its defaults: as if typed for each job."""
    name = str(config.hydra.job.config_name)
    for source in config.hydra.runtime.config_sources:
        path = Path(str(source.path)) / f"{name}.yaml"
        if name == "config" or source.schema != "file" or not path.is_file():
            continue
        entries = OmegaConf.to_container(OmegaConf.load(path)).get("defaults", [])  # type: ignore[union-attr]
        pairs = [(k, v) for entry in entries if isinstance(entry, dict) for k, v in entry.items()]
        return [f"{k.removeprefix('override ')}={v}" for k, v in pairs if "hydra/" not in k]
    return []


def _command() -> str:
    return shlex.join(["python", os.path.basename(sys.argv[0]), *redact_typed(sys.argv[1:])])


def _cell(folder: Path, cfg: DictConfig, typed: list[str], choices: dict[str, Any]) -> Cell:
    cfg.dir = "."  # what is computed does not depend on where
    config = OmegaConf.to_container(cfg, resolve=True)
    key = identity(config)  # type: ignore[arg-type]
    place = folder / "jobs" / key
    cfg.dir = str(place)
    config = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(config, dict)
    if isinstance(logger := config.get("logger"), dict) and "group" in logger:  # type: ignore[union-attr]
        logger["group"] = logger["group"] or f"{config['name']}/{folder.name}"  # type: ignore[index]
    chosen = {k: v for k, v in choices.items() if v}
    return Cell(key, tuple(typed), config, chosen, place)  # type: ignore[arg-type]


def _run(folder: Path, cells: Sequence[Cell], todo: Sequence[Cell], runner: Runner) -> bool:
    """Whether it was stopped before its end."""
    from diffexp.experiment.report import refresh

    screen, keys = Board(len(cells), len(cells) - len(todo)), varying(cells)
    ready, cost = 0.0, 0.0
    with _interruptible() as stopping, screen:
        for news in runner(todo, stopping):
            ended = news.kind in ("done", "failed")
            screen.hear(news, _name(news.cell, keys), rows(folder) if ended else {})
            # with many cells a report takes seconds: a thirtieth of the time is for it
            if ended and time.monotonic() - ready > 30 * cost:
                start = time.monotonic()
                refresh(folder)
                ready = time.monotonic()
                cost = ready - start
        refresh(folder)
        return stopping()


def _name(cell: Cell, keys: dict[str, list[str]]) -> str:
    return " ".join(f"{key}={cell.value(key)}" for key in keys) or cell.id


@contextmanager
def _interruptible() -> Iterator[Any]:
    """The first Ctrl-C, or SIGTERM, lets the jobs that run end; the second stops at once."""
    heard: list[int] = []

    def handle(number: int, frame: Any) -> None:
        if heard:
            raise KeyboardInterrupt
        heard.append(number)
        print("\nno more jobs are begun; once more to stop at once", file=sys.stderr, flush=True)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(heard)
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _show_plan(folder: Path, cells: Sequence[Cell]) -> None:
    """dry_run=true: the jobs, which of them are done, and how many network calls the others make."""
    from diffexp.experiment.plan import network_calls

    todo, keys = {c.id for c in left(folder, cells)}, varying(cells)
    table = Table(
        title=f"{len(cells)} jobs, {len(cells) - len(todo)} done, in {folder}", title_justify="left"
    )
    for column in (*keys, "job", "network calls", "state"):
        table.add_column(column, overflow="fold")
    total = 0
    for cell in cells:
        try:
            calls = network_calls(cell)
            total += (calls or 0) * (cell.id in todo)
            told = "" if calls is None else f"{calls:,}"
        except DiffexpError as error:
            told = f"error: {error.what}"
        state = "to do" if cell.id in todo else "done"
        table.add_row(*(str(cell.value(k)) for k in keys), cell.id, told, state)
    Console().print(table)
    print(f"{len(todo)} jobs to do, {total:,} network calls, counted by image")


def _end(folder: Path, cells: Sequence[Cell], stopped: bool) -> None:
    from diffexp.experiment.table import failures, markdown
    from diffexp.experiment.track import track_sweep

    found = rows(folder)
    print(f"\n{markdown(folder)}", flush=True)
    track_sweep(folder, cells[0].config)
    missing = sum(cell.id not in found for cell in cells)
    failed = [cell for cell in cells if found.get(cell.id, {}).get("state") == "failed"]
    print(f"report: {folder / 'report.html'}   rows: {folder / 'results.jsonl'}")
    if stopped and missing:
        print(f"stopped: {missing} of {len(cells)} jobs are left; the same command goes on with them")
        cli.codes.append(75)
    elif failed:
        print(failures(folder), flush=True)
        print(f"{len(failed)} of {len(cells)} jobs failed; the same command tries them again")
        cli.codes.append(1)
