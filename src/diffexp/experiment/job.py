"""A job: the composed configuration, checked, and the task that it names, run in its folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from omegaconf import DictConfig, OmegaConf

from diffexp.errors import ConfigError
from diffexp.experiment.build import ALLOWED, build
from diffexp.experiment.check import check
from diffexp.experiment.record import SECRET, Record


@dataclass(frozen=True)
class Job:
    """config: plain values, nothing to interpolate; typed: the overrides; choices: group -> option."""

    config: dict[str, Any]
    folder: Path
    typed: tuple[str, ...] = ()
    choices: Mapping[str, str] | None = None

    @property
    def allowed(self) -> tuple[str, ...]:
        """The packages of which a `_target_` may be."""
        plugins = self.config.get("plugins", ())
        if not isinstance(plugins, (list, tuple)) or not all(isinstance(p, str) and p for p in plugins):
            raise ConfigError(
                f"plugins={plugins}", "plugins", "give a list of packages: plugins=[my_package]"
            )
        return (*ALLOWED, *plugins)

    def build(self, key: str) -> Any:
        """The object of a top-level node."""
        return build(self.config[key], key, self.allowed)

    def public(self) -> dict[str, Any]:
        """The configuration for others to read: secrets blotted out, and the choices beside it."""
        return _blotted(self.config) | {"choices": dict(self.choices or {})}


TRAINING = ("loader", "model", "trainer", "callbacks")
"""What task=train alone builds; it needs Lightning, whose import takes longer than many a job."""


class Task(Protocol):
    """What `task=` chooses. `tracked = False` for one that is no run of a tracker, or makes its own."""

    def check(self, job: Job) -> None:
        """Quickly, before the run folder is written to. Raises DiffexpError."""
        ...

    def run(self, job: Job, record: Record) -> None: ...


def run_job(
    cfg: DictConfig, folder: Path, typed: Sequence[str], choices: Mapping[str, str]
) -> dict[str, Any]:
    """`run_resolved`, of a composed configuration."""
    OmegaConf.update(cfg, "dir", str(folder))
    config = OmegaConf.to_container(cfg, resolve=True)
    return run_resolved(config, folder, typed, choices)  # type: ignore[arg-type]


def run_resolved(
    config: dict[str, Any], folder: Path, typed: Sequence[str], choices: Mapping[str, str]
) -> dict[str, Any]:
    """Check, then run; returns the results. Raises DiffexpError; nothing is written before all checks have
    passed.
    """
    chosen = {k: v for k, v in choices.items() if v and not k.startswith("hydra/")}
    job = Job(config, folder, tuple(typed), chosen)
    check(_needed(job), job.allowed)
    task: Task = job.build("task")
    try:
        task.check(job)
    except (AttributeError, TypeError) as error:
        if not any("_target_" in text for text in typed):
            raise
        what = f"what was typed does not fit the rest: {error}"
        raise ConfigError(what, "_target_", "name a class of the kind that the group has") from error
    if config.get("dry_run"):
        print(f"dry_run: all checks have passed; {config['name']} would be run in {folder}")
        return {}
    if (ended := getattr(task, "done", lambda job: None)(job)) is not None:
        print(f"already finished: {folder}; type resume=never dir=... to begin another")
        return ended
    with Record(folder, job.public(), job.typed) as record:
        task.run(job, record)
        if getattr(task, "tracked", True):
            from diffexp.experiment.track import track

            track(job, record.results, job.config["task"]["_target_"].rpartition(".")[2].lower())
    return record.results


def _needed(job: Job) -> dict[str, Any]:
    """The nodes to check: all for training; else without those of TRAINING in which nothing was typed."""
    if str(job.config["task"].get("_target_")).endswith(".Train"):
        return job.config
    typed = {text.lstrip("+~").partition("=")[0] for text in job.typed}
    unused = [key for key in TRAINING if not any(text.startswith(f"{key}.") for text in typed)]
    return {key: node for key, node in job.config.items() if key not in unused}


def _blotted(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {
            k: "***" if SECRET.search(str(k)) and isinstance(v, str) else _blotted(v) for k, v in node.items()
        }
    return [_blotted(v) for v in node] if isinstance(node, list) else node
