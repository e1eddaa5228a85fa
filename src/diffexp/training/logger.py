"""metrics.jsonl: the values of a run, where they can be read without anything; and the trackers beside it."""

import json
import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import Logger

from diffexp.errors import ResourceError
from diffexp.files import descriptor_to_append
from diffexp.training.tracker import TrackedRun, safely


class Jsonl(Logger):
    """One line for each call: {"step": ..., "seconds": ..., key: value, ...}; what is not finite is null.

    check: called before each. Raises ResourceError for a line that cannot be written, of which nothing is
    left, and DataError for a link.
    """

    def __init__(self, path: Path, check: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self.path, self._check, self._start = path, check, time.monotonic()

    @property
    def name(self) -> str:
        return "metrics.jsonl"

    @property
    def version(self) -> str:
        return ""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        values = {k: float(v) for k, v in metrics.items() if k != "epoch"}
        finite = {k: v if math.isfinite(v) else None for k, v in values.items()}
        if finite:
            line = {"step": step, "seconds": round(time.monotonic() - self._start, 2)} | finite
            self._append(json.dumps(line).encode() + b"\n")

    def _append(self, line: bytes) -> None:
        self._check()
        try:
            number = descriptor_to_append(self.path)
            size = os.fstat(number).st_size
            try:
                while line:  # a full disk takes a part of it
                    line = line[os.write(number, line) :]
            except OSError:  # half a line would spoil the next
                os.ftruncate(number, size)
                raise
            finally:
                os.close(number)
        except OSError as error:
            do = "free some disk, and type the same command again"
            raise ResourceError(
                f"a line cannot be written: {error.strerror or error}", str(self.path), do
            ) from error

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Write nothing: they are in config.yaml."""


class TrackedLogger(Logger):
    """A tracked run, `run`, among the loggers of Lightning."""

    def __init__(self, run: TrackedRun) -> None:
        super().__init__()
        self.run = run

    @property
    def name(self) -> str:
        return type(self.run).__name__

    @property
    def version(self) -> str:
        return ""

    @property
    def experiment(self) -> Any:
        """The run as its library has it; None where there is none."""
        return getattr(self.run, "run", None)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        safely(self.run.log, metrics, step)

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Write nothing: the tracker has had the configuration when it was opened."""
