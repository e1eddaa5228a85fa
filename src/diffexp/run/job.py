"""A job: the composed configuration, checked, and the task that it names, run in its folder."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, cast

import torch

from diffexp.config.build import ALLOWED, build, locate
from diffexp.errors import ConfigError
from diffexp.redact import redact
from diffexp.run.folder import Record


@dataclass(frozen=True)
class Job:
    """config: plain values, nothing to interpolate; typed: the overrides; choices: group -> option."""

    config: dict[str, Any]
    folder: Path
    typed: tuple[str, ...] = ()
    choices: Mapping[str, str] | None = None

    @property
    def allowed(self) -> tuple[str, ...]:
        """The packages whose classes a `_target_` that was typed may name."""
        return (*ALLOWED, *self.plugins)

    @property
    def plugins(self) -> tuple[str, ...]:
        """The person's own packages. Raises ConfigError."""
        plugins = self.config.get("plugins", ())
        if not isinstance(plugins, (list, tuple)) or not all(isinstance(p, str) and p for p in plugins):
            raise ConfigError(
                f"plugins={plugins}", "plugins", "give a list of packages: plugins=[my_package]"
            )
        return tuple(plugins)

    def build(self, key: str) -> Any:
        """Build the object of a top-level node."""
        return build(self.config[key], key, self.allowed)

    def public(self) -> dict[str, Any]:
        """Return the configuration for others to read: without secrets, and the choices beside it."""
        return redact(self.config) | {"choices": dict(self.choices or {})}


class Task(Protocol):
    """The work that `task=` chooses. One's own may inherit from this, or have `check` and `run` alone."""

    trains: ClassVar[bool] = False
    """Whether it trains with Lightning: the trainer, the loader and the callbacks are checked for it, and its
    process does no other job after it, for Lightning has touched signals, seeds and ranks."""
    tracked: ClassVar[bool] = True
    """Whether its results are a run of the tracker; False for one that is none, or makes its own."""

    @abstractmethod
    def check(self, job: Job) -> None:
        """Check quickly, before the run folder is written to. Raises DiffexpError."""
        ...

    @abstractmethod
    def run(self, job: Job, record: Record) -> None:
        """Do the work, and put what comes of it into `record.results`. Raises DiffexpError."""
        ...

    def done(self, job: Job) -> dict[str, Any] | None:
        """Return the results of the job where they lie in its folder already, else None."""
        return None

    def network_calls(self, job: Job) -> int | None:
        """Return how often the network will be evaluated, counted by image; None where that is not known.

        Raises DiffexpError for a job that would be refused.
        """
        return None


def kind_of_task(config: Mapping[str, Any], allowed: Sequence[str] = ALLOWED) -> type[Task]:
    """Return the class of the task of a configuration. Raises ConfigError for one that is not there."""
    node = config.get("task")
    name = node.get("_target_") if isinstance(node, Mapping) else None
    return cast(type[Task], locate(name, "task._target_", allowed))


def device_of(job: Job) -> torch.device:
    """Return the device that the trainer group names. Raises ConfigError when it is not there."""
    accelerator = job.config["trainer"].get("accelerator", "cpu")
    wanted, there = accelerator in ("gpu", "cuda"), torch.cuda.is_available()
    if wanted and not there:
        raise ConfigError("there is no CUDA device", "trainer", "type trainer=cpu")
    if job.config["precision"] == "fp16" and not there:
        raise ConfigError("float16 needs a CUDA device", "precision", "type precision=bf16 or precision=fp32")
    return torch.device("cuda" if wanted or (accelerator == "auto" and there) else "cpu")
