"""A sweep from its lines to its table: compose, run what is left, show what happens."""

import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from diffexp.config.argv import command
from diffexp.config.build import build
from diffexp.errors import ConfigError, DiffexpError
from diffexp.notice import say
from diffexp.redact import redact, redact_typed
from diffexp.run.latest import point_to
from diffexp.run.results import alone, refuse_links, remove_if_empty, rows
from diffexp.sweep.cell import Cell, plan_of, write_plan
from diffexp.sweep.compose import Compose, Lines
from diffexp.sweep.local_pool import Pool
from diffexp.sweep.progress import Board
from diffexp.sweep.worker import STOPPED, News, Steps

Runner = Callable[[Steps, Callable[[], bool]], Iterator[News]]
"""Called with the lines as they are composed, and with what says whether to stop."""


def launch(
    config: DictConfig,
    lines: Sequence[Sequence[str]],
    compose: Compose,
    jobs: int,
    threads: int | None,
    cluster: DictConfig | None = None,
) -> int:
    """Run the jobs of a sweep, and return its exit code: failures are reported. Raises DiffexpError.

    lines: what was typed for each job.
    """
    folder, lines = _folder(config, lines, compose)
    (folder / "multirun.yaml").unlink(missing_ok=True)  # of another sweeper, with secrets; plan.json is ours
    try:
        refuse_links(folder / "logs", folder / "jobs", folder / "submitit")
        if jobs < 1:
            raise ConfigError(f"jobs={jobs}", "hydra.launcher.jobs", "give 1 or more")
        there = None if cluster is None or config.get("dry_run") else _cluster(cluster)
    except DiffexpError:
        remove_if_empty(folder)
        raise
    with alone(folder), _runner(folder, jobs, threads, there, config) as (runner, expect):
        chosen, conf = _chosen(config), _conf(config)
        sweep = Lines(folder, [[*chosen, *line] for line in lines], compose, conf)
        layout = redact(OmegaConf.to_container(config.sweep))
        plan = plan_of(str(config.name), layout, sweep.keys, _command())
        if config.get("dry_run"):
            from diffexp.sweep.cost import show

            return next(iter(show(sweep)), 0)
        expect(cell := sweep.first())
        if "ckpt" not in cell.config.get("task", ()):
            point_to(folder)
        say(f"{len(lines)} command lines: {folder}/")

        def tell() -> None:
            write_plan(folder, plan | {"complete": sweep.complete}, sweep.cells)

        return _end(sweep, _run(sweep, runner, tell))


def _folder(
    config: DictConfig, lines: Sequence[Sequence[str]], compose: Compose
) -> tuple[Path, Sequence[Sequence[str]]]:
    """Return the folder of the sweep, and the lines without `dir`, which names it as hydra.sweep.dir does.
    Raises ConfigError for several.
    """
    usual, keys = Path(str(config.hydra.sweep.dir)), ("dir=", "+dir=", "++dir=")
    typed = {text for line in lines for text in line if text.startswith(keys)}
    if not typed:
        return usual, lines
    other = [text for text in config.hydra.overrides.hydra if text.startswith("hydra.sweep.dir=")]
    if len(typed) > 1 or other:
        do = "type one dir=FOLDER; each job has a folder of its own in it, jobs/ID"
        raise ConfigError(f"a sweep has one folder, not {', '.join(sorted([*typed, *other]))}", "dir", do)
    named = Path(str(compose(0)[0].dir))
    return named, [[text for text in line if not text.startswith(keys)] for line in lines]


def _cluster(node: DictConfig) -> Any:
    made = build(OmegaConf.to_container(node, resolve=True), "hydra.launcher.cluster")
    made.check()
    return made


@contextmanager
def _runner(
    folder: Path, jobs: int, threads: int | None, there: Any, config: DictConfig
) -> Iterator[tuple[Runner, Callable[[Cell], None]]]:
    """Yield what runs the jobs and yields their news, and what prepares for the first job."""
    cores, omp = len(os.sched_getaffinity(0)), int(os.environ.get("OMP_NUM_THREADS") or 0)
    if there is not None:
        from diffexp.sweep.cluster import run_on

        each = threads or max(1, round(getattr(there, "cpus", 0)) or omp or cores // jobs)
        yield partial(run_on, there, folder, jobs, each), lambda cell: None
        return
    pool = Pool(folder, 0 if config.get("dry_run") else jobs, threads or omp or max(1, cores // jobs))
    try:
        yield pool.run, pool.expect
    finally:
        pool.close()


def _chosen(config: DictConfig) -> list[str]:
    """Return group=option for what a sweep file overrides in its defaults: as if typed for each job."""
    name = str(config.hydra.job.config_name)
    for source in config.hydra.runtime.config_sources:
        path = Path(str(source.path)) / f"{name}.yaml"
        if name == "config" or source.schema != "file" or not path.is_file():
            continue
        entries = OmegaConf.to_container(OmegaConf.load(path)).get("defaults", [])  # type: ignore[union-attr]
        pairs = [(k, v) for entry in entries if isinstance(entry, dict) for k, v in entry.items()]
        return [f"{k.removeprefix('override ')}={v}" for k, v in pairs if "hydra/" not in k]
    return []


def _conf(config: DictConfig) -> Path:
    """Return the folder of our own options."""
    return Path(str(next(s.path for s in config.hydra.runtime.config_sources if s.provider == "main")))


def _command() -> str:
    return shlex.join([*command(here=False), *redact_typed(sys.argv[1:])])


def _run(sweep: Lines, runner: Runner, tell: Callable[[], None]) -> bool:
    """Run the jobs to the end, and return whether they were stopped before it. tell: writes plan.json of the
    lines that are composed.
    """
    from diffexp.report.html import refresh

    screen = Board(sweep.total)
    said, ready, cost = False, 0.0, 0.0
    with _interruptible() as stopping, screen:
        for news in runner(sweep.steps(), stopping):
            ended = news.kind in ("done", "failed")
            screen.total, screen.before = sweep.total, sweep.done
            if sweep.complete and not said:
                screen.say(_counts(sweep))
                said = True
            screen.hear(news, _name(sweep, news.cell))
            # with many cells a report takes seconds: a thirtieth of the time is for it
            if (ended or not ready) and time.monotonic() - ready > 30 * cost:
                start = time.monotonic()
                tell()
                refresh(sweep.folder)
                ready = time.monotonic()
                cost = ready - start
        if sweep.complete and not said:
            screen.say(_counts(sweep))
        tell()
        refresh(sweep.folder)
        return stopping()


def _counts(sweep: Lines) -> str:
    same = f"; {sweep.same} of the {len(sweep.typed)} lines are the same as another" if sweep.same else ""
    return f"{sweep.total} jobs, {sweep.done} of them done before{same}"


def _name(sweep: Lines, cell: Cell) -> str:
    return " ".join(f"{key}={cell.shown.get(key)}" for key in sweep.keys) or cell.id


@contextmanager
def _interruptible() -> Iterator[Any]:
    """Stop at Ctrl-C or SIGTERM: the first lets the jobs that run end; the second stops at once."""
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


def _end(sweep: Lines, stopped: bool) -> int:
    """Show the results of the sweep; return the exit code."""
    from diffexp.report.differences import shared
    from diffexp.report.failures import failures
    from diffexp.report.table import markdown, read
    from diffexp.report.tracking import track_sweep

    folder, ended, snapshot = sweep.folder, rows(sweep.folder), read(sweep.folder)
    say(f"\n{markdown(snapshot, shared(snapshot))}")
    track_sweep(folder, sweep.cells[0].config)
    states = [ended.get(cell.id, {}).get("state") for cell in sweep.cells]
    failed, done = states.count("failed"), states.count("done")
    missing = sweep.total - failed - done
    say(f"report: {folder / 'report.html'}   rows: {folder / 'results.jsonl'}")
    if stopped and missing:
        say(f"stopped: {missing} of {sweep.total} jobs are left; the same command goes on with them")
        return STOPPED
    if failed or missing:  # missing: not even its row could be written
        say(failures(folder))
        say(f"{failed + missing} of {sweep.total} jobs failed; the same command tries them again")
        return 1
    return 0
