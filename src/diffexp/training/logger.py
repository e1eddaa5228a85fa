"""metrics.jsonl: the values of a run, where they can be read without anything."""

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import Logger


class Jsonl(Logger):
    """One line for each call: {"step": ..., "seconds": ..., key: value, ...}; what is not finite is null."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path, self._start = path, time.time()

    @property
    def name(self) -> str:
        return "metrics.jsonl"

    @property
    def version(self) -> str:
        return ""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        values = {k: float(v) for k, v in metrics.items() if k != "epoch"}
        told = {k: v if math.isfinite(v) else None for k, v in values.items()}
        if told:
            line = {"step": step, "seconds": round(time.time() - self._start, 2)} | told
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """They are in config.yaml."""
