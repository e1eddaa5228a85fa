"""Weights & Biases beside metrics.jsonl, if wanted. It needs no Lightning, for not every run trains."""

import os
import re
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from diffexp.errors import Interrupted, printable
from diffexp.files import make_folder, write
from diffexp.notice import say
from diffexp.redact import redact_typed

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


def first() -> bool:
    """Return whether this is the first process of its run, by what torchrun, Lightning or Slurm has set."""
    names = ("RANK",) if "RANK" in os.environ else ("LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")
    return all(os.environ.get(name, "0") == "0" for name in names)


class Tracker(Protocol):
    """A tracker is opened when a run begins and closed when it ends, also by an error. `open` gives W&B's
    run, or None where there is to be none, or none could be had: what tracks a run never ends it.
    """

    def open(
        self, folder: Path, name: str, kind: str, tags: Sequence[str], config: Mapping[str, Any]
    ) -> Any: ...

    def close(self, failed: bool = False) -> None: ...


@dataclass(frozen=True)
class NoTracker:
    """The tracker of runs that have metrics.jsonl alone."""

    def open(
        self, folder: Path, name: str, kind: str, tags: Sequence[str], config: Mapping[str, Any]
    ) -> None:
        return None

    def close(self, failed: bool = False) -> None:
        return None


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
        """Return the run; None in all processes but the first, and where W&B fails, which it says. Offline
        when there is no key or no network, and it says so. Never asks.
        """
        if not first():
            return None
        try:
            with _without_secrets():
                return self._opened(folder, name, kind, tags, config)
        except Interrupted:
            raise
        except Exception as error:  # a full disk, a link, a service that does not start: no common type
            say(f"without W&B, which failed ({_line(error)}): metrics.jsonl has the values")
            _stop()
            return None

    def _opened(
        self, folder: Path, name: str, kind: str, tags: Sequence[str], config: Mapping[str, Any]
    ) -> Any:
        import wandb

        settings: dict[str, Any] = {
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
            # the address of a git remote may hold a token as its user, which W&B records: it gets no address
            "settings": wandb.Settings(silent=True, console="off", init_timeout=8, git_remote=""),
        }
        if self.mode == "online":
            os.environ.setdefault("WANDB_HTTP_TIMEOUT", "5")  # seconds, to hear whether the key is good
            try:
                if not wandb.login(prompt=False):
                    raise ConnectionError("no API key: see wandb login")
                return wandb.init(mode="online", **settings)
            except Exception as error:
                say(f"W&B is out of reach ({_line(error)}): offline, to be sent by wandb sync")
                wandb.teardown()
        return wandb.init(mode="offline", **settings)

    def close(self, failed: bool = False) -> None:
        """End the run, also after an error: the next one would be added to it. Say what fails."""
        if (wandb := sys.modules.get("wandb")) is None:
            return
        try:
            wandb.finish(exit_code=int(failed))
        except Interrupted:
            raise
        except Exception as error:
            say(f"W&B's run was not ended ({_line(error)})")
            _stop()


def _id(folder: Path) -> str:
    """Return the same for a run that goes on in its folder; a new one, and say so, where that is damaged."""
    file = folder / "wandb" / "id"
    make_folder(file.parent)
    there = file.is_symlink() or file.exists()
    if there and _ID.fullmatch(text := _content(file)):
        return text
    write(file, made := secrets.token_hex(4))
    if there:
        say(f"{file} holds no id of a run: W&B has this as a new run")
    return made


def _content(file: Path) -> str:
    """Return a hundred bytes of a regular file; nothing outside the run folder is taken for an id."""
    if file.is_symlink() or not file.is_file():
        return ""
    with file.open("rb") as opened:
        return opened.read(100).decode("ascii", "replace").strip()


@contextmanager
def _without_secrets() -> Iterator[None]:
    """Hide secrets in sys.argv while W&B begins a run, which records it."""
    before, sys.argv = sys.argv, redact_typed(sys.argv)
    try:
        yield
    finally:
        sys.argv = before


def _line(error: Exception) -> str:
    return printable(str(error) or type(error).__name__).splitlines()[0]


def _stop() -> None:
    """End W&B's service, so that neither the exit nor the next run waits for it."""
    if (wandb := sys.modules.get("wandb")) is not None:
        try:
            wandb.teardown()
        except Exception as error:
            say(f"W&B's service was not ended ({_line(error)})")
