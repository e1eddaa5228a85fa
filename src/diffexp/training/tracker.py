"""Weights & Biases beside metrics.jsonl, if wanted. It needs no Lightning, for not every run trains."""

import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol


def first() -> bool:
    """Whether this is the first process of its run, by what torchrun, Lightning or Slurm has set."""
    names = ("RANK",) if "RANK" in os.environ else ("LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")
    return all(os.environ.get(name, "0") == "0" for name in names)


class Tracker(Protocol):
    """Opened when a run begins, closed when it ends, also by an error. `open` gives W&B's run, or None."""

    def open(
        self, folder: Path, name: str, kind: str, tags: Sequence[str], config: Mapping[str, Any]
    ) -> Any: ...

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

    def open(self, folder: Path, name: str, kind: str, tags: Sequence[str], config: Mapping[str, Any]) -> Any:
        """The run; None in all processes but the first. Offline when there is no key or no network, and it
        says so. Never asks.
        """
        import wandb

        if not first():
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
                return wandb.init(mode="online", **told)
            except Exception as error:
                print(
                    f"W&B is out of reach ({str(error).splitlines()[0]}): offline, to be sent by wandb sync"
                )
                wandb.teardown()
        return wandb.init(mode="offline", **told)

    def close(self, failed: bool = False) -> None:
        """Ends the run, also after an error: the next one would be added to it."""
        import wandb

        wandb.finish(exit_code=int(failed))
