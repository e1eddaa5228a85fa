"""A job: the composed configuration, checked, and the task that it names, run in its folder."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from diffexp.config.build import ALLOWED, build
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
        """The packages of which a `_target_` that was typed may be."""
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
        """The object of a top-level node."""
        return build(self.config[key], key, self.allowed)

    def public(self) -> dict[str, Any]:
        """The configuration for others to read: without secrets, and the choices beside it."""
        return redact(self.config) | {"choices": dict(self.choices or {})}


class Task(Protocol):
    """What `task=` chooses. `tracked = False` for one that is no run of a tracker, or makes its own."""

    def check(self, job: Job) -> None:
        """Quickly, before the run folder is written to. Raises DiffexpError."""
        ...

    def run(self, job: Job, record: Record) -> None: ...


def device_of(job: Job) -> torch.device:
    """Where the trainer group says that the work is done. Raises ConfigError when that is not there."""
    accelerator = job.config["trainer"].get("accelerator", "cpu")
    wanted, there = accelerator in ("gpu", "cuda"), torch.cuda.is_available()
    if wanted and not there:
        raise ConfigError("there is no CUDA device", "trainer", "type trainer=cpu")
    if job.config["precision"] == "fp16" and not there:
        raise ConfigError("float16 needs a CUDA device", "precision", "type precision=bf16 or precision=fp32")
    return torch.device("cuda" if wanted or (accelerator == "auto" and there) else "cpu")
