"""Run the task of a job, after all checks, in its folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from diffexp import notice
from diffexp.config.check import check
from diffexp.errors import ConfigError, all_at_once
from diffexp.notice import say
from diffexp.run.folder import Record
from diffexp.run.job import Job, Task, kind_of_task
from diffexp.run.latest import point_to
from diffexp.run.precision import check_precision, settled
from diffexp.run.same import precision_before
from diffexp.run.shift import settle_shift
from diffexp.tasks.like_base import like_base

TRAINING = ("loader", "model", "trainer", "callbacks")
"""The nodes that only a task that trains builds; they need Lightning, whose import
takes longer than many a job."""


def run_job(
    cfg: DictConfig,
    folder: Path,
    typed: Sequence[str],
    choices: Mapping[str, str],
    of_file: Sequence[str] = (),
) -> dict[str, Any]:
    """Run a composed configuration by `run_resolved`. of_file: those of `typed` that a run folder has said,
    for which nothing may be built that a file may not name.
    """
    OmegaConf.update(cfg, "dir", str(folder))
    if any("root" in text for text in of_file) and "download" in (cfg.data or {}):
        cfg.data.download = False  # a run folder does not say where to write
    choices = like_base(cfg, typed, choices)
    settle_shift(cfg)
    config = OmegaConf.to_container(cfg, resolve=True)
    if of_file:
        _judge_all(config, typed, of_file)  # type: ignore[arg-type]
    return run_resolved(config, folder, typed, choices)  # type: ignore[arg-type]


def _judge_all(config: dict[str, Any], typed: Sequence[str], of_file: Sequence[str]) -> None:
    """Raise ConfigError with all that `of_file` has put where it may not be."""
    from diffexp.config.catalogue import judge

    own = [text for text in typed if text not in of_file and "_target_" in text]
    nodes = {key: node for key, node in config.items() if isinstance(node, (Mapping, list))}
    plugins = Job(config, Path()).plugins
    if plugins and not any(text.lstrip("+").startswith("plugins=") for text in typed if text not in of_file):
        what = "the run used packages of its own"
        raise ConfigError(what, "plugins", f"if you trust them, type plugins=[{','.join(plugins)}]")
    problems = [problem for key, node in nodes.items() for problem in judge(node, key, plugins)]
    # what the person names on this command line may stand where they put it
    all_at_once([p for p in problems if not any(p.what.partition(" ")[0] in text for text in own)])


def run_resolved(
    config: dict[str, Any], folder: Path, typed: Sequence[str], choices: Mapping[str, str]
) -> dict[str, Any]:
    """Check, then run; return the results. Raises DiffexpError; nothing is written before all checks have
    passed.
    """
    warned = len(notice.warned)
    chosen = {k: v for k, v in choices.items() if v and not k.startswith("hydra/")}
    before = precision_before(folder) if config.get("precision") == "auto" else None
    job = Job(settled(config, before), folder, tuple(typed), chosen)
    check(_needed(job), job.allowed)
    check_precision(job.config)
    task: Task = job.build("task")
    try:
        task.check(job)
    except (AttributeError, TypeError) as error:
        if not any("_target_" in text for text in typed):
            raise
        what = f"what was typed does not fit the rest: {error}"
        raise ConfigError(what, "_target_", "name a class of the kind that the group has") from error
    if config.get("dry_run"):
        say(f"dry_run: all checks have passed; {config['name']} would be run in {folder}")
        return {}
    if (ended := (task.done(job) if hasattr(task, "done") else None)) is not None:
        say(f"already finished: {folder}; type resume=never dir=... to begin another")
        return ended
    with Record(folder, job.public(), job.typed, warned) as record:
        if record.first and getattr(task, "trains", False):
            point_to(folder)
        task.run(job, record)
        if getattr(task, "tracked", True) or (hasattr(task, "artifact") and _keeps_files(job)):
            from diffexp.report.tracking import track

            track(job, record.results, job.config["task"]["_target_"].rpartition(".")[2].lower(), task)
    return record.results


def _keeps_files(job: Job) -> bool:
    return bool((job.config.get("logger") or {}).get("artifacts"))


def _needed(job: Job) -> dict[str, Any]:
    """Return the nodes to check: all for training; else without those of TRAINING that nobody has typed."""
    try:
        if getattr(kind_of_task(job.config, job.allowed), "trains", False):
            return job.config
    except ConfigError:  # which the check of all nodes reports, with the others
        return job.config
    typed = {text.lstrip("+~").partition("=")[0] for text in job.typed}
    unused = [key for key in TRAINING if not any(text.startswith(f"{key}.") for text in typed)]
    return {key: node for key, node in job.config.items() if key not in unused}
