"""Where values go: metrics.jsonl in the run folder always, Weights & Biases beside it if wanted."""

import json
import math
import os
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import Logger, WandbLogger


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


class Tracker(Protocol):
    """Opened when a run begins, closed when it ends, also by an error."""

    def open(
        self, folder: Path, name: str, kind: str, tags: Sequence[str], config: Mapping[str, Any]
    ) -> Logger | None: ...

    def close(self, failed: bool = False) -> None: ...


@dataclass(frozen=True)
class NoTracker:
    """metrics.jsonl alone."""

    def open(
        self, folder: Path, name: str, kind: str, tags: Sequence[str], config: Mapping[str, Any]
    ) -> None:
        return None

    def close(self, failed: bool = False) -> None:
        return None


def _id(folder: Path) -> str:
    """The same for a run that goes on in its folder."""
    file = folder / "wandb" / "id"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(secrets.token_hex(4))
    return file.read_text().strip()


@dataclass(frozen=True)
class Wandb:
    """Weights & Biases, in the run folder. mode: offline writes there only, online sends as well.

    project, entity: theirs. group: of runs that belong together; None for the name of the run.
    """

    mode: Literal["offline", "online"] = "offline"
    project: str = "diffexp"
    entity: str | None = None
    group: str | None = None

    def open(
        self, folder: Path, name: str, kind: str, tags: Sequence[str], config: Mapping[str, Any]
    ) -> Logger | None:
        """The logger of one run; offline when there is no key or no network, and it says so. Never asks."""
        import wandb

        if rank_zero_only.rank:  # type: ignore[attr-defined]
            return None
        told: dict[str, Any] = {
            "dir": str(folder.resolve()),  # W&B's service may have been begun in another folder
            "id": _id(folder),
            "resume": "allow",
            "name": f"{name}/{folder.name}",
            "project": self.project,
            "entity": self.entity,
            "group": self.group or name,
            "job_type": kind,
            "tags": list(tags),
            "config": dict(config),
            "settings": wandb.Settings(silent=True, console="off", init_timeout=8),
        }
        if self.mode == "online":
            os.environ.setdefault("WANDB_HTTP_TIMEOUT", "5")  # seconds, to hear whether the key is good
            try:
                if not wandb.login(prompt=False):
                    raise ConnectionError("no API key: see wandb login")
                return WandbLogger(experiment=wandb.init(mode="online", **told))
            except Exception as error:
                print(
                    f"W&B is out of reach ({str(error).splitlines()[0]}): offline, to be sent by wandb sync"
                )
                wandb.teardown()
        return WandbLogger(experiment=wandb.init(mode="offline", **told))

    def close(self, failed: bool = False) -> None:
        """Ends the run, also after an error: the next one would be added to it."""
        import wandb

        wandb.finish(exit_code=int(failed))
