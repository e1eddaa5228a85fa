"""Weights & Biases: offline in the run folder, or online; artifacts, alerts, and its own sweeps."""

import os
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from diffexp.errors import Interrupted
from diffexp.files import digest, link_or_copy, make_folder
from diffexp.notice import say
from diffexp.redact import redact_typed
from diffexp.training.tracker import Artifact, TrackedRun, first, id_in, id_of, line, safely

SWEEP, RUN = "WANDB_SWEEP_ID", "WANDB_RUN_ID"  # which an agent of W&B sets
_STEP, _DATA = "trainer/global_step", "WANDB_DATA_DIR"


@dataclass(frozen=True)
class Wandb:
    """Weights & Biases, in the run folder. mode: offline writes there only, online sends as well.

    project, entity: theirs. group: of runs that belong together; None for the name of the run. artifacts:
    checkpoints, exports and sample sets are kept as well, with what they were made from. A run that an agent
    of a W&B sweep has begun has that sweep's project, entity and group.
    """

    mode: Literal["offline", "online"] = "offline"
    project: str = "diffexp"
    entity: str | None = None
    group: str | None = None
    artifacts: bool = False

    def open(self, folder: Path, name: str, kind: str, tags: Sequence[str], config: Mapping[str, Any]) -> Any:
        """Return W&B's run; None in all processes but the first, and where W&B fails, which it says. Offline
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
            say(f"without W&B, which failed ({line(error)}): metrics.jsonl has the values")
            _stop()
            return None

    def _opened(
        self, folder: Path, name: str, kind: str, tags: Sequence[str], config: Mapping[str, Any]
    ) -> Any:
        import wandb

        sweep = os.environ.get(SWEEP)
        made = id_in(folder / "wandb" / "id", "W&B", os.environ.get(RUN) if sweep else None)
        settings: dict[str, Any] = {
            "dir": str(folder.resolve()),  # W&B's service may have been begun in another folder
            "resume": "allow",
            "name": f"{name}/{folder.name}",
            "group": self.group or (f"sweep-{sweep}" if sweep else name),
            "job_type": kind,
            "tags": list(tags),
            "config": dict(config),
            # the address of a git remote may hold a token as its user, which W&B records: it gets no address
            "settings": wandb.Settings(silent=True, console="off", init_timeout=8, git_remote=""),
        }
        if not sweep:  # else these are the sweep's, and W&B takes no others
            settings |= {"id": made, "project": self.project, "entity": self.entity}
        if self.mode == "online":
            os.environ.setdefault("WANDB_HTTP_TIMEOUT", "5")  # seconds, to hear whether the key is good
            try:
                if not wandb.login(prompt=False):
                    raise ConnectionError("no API key: see wandb login")
                return wandb.init(mode="online", **settings)
            except Exception as error:
                say(f"W&B is out of reach ({line(error)}): offline, to be sent by wandb sync")
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
            say(f"W&B's run was not ended ({line(error)})")
            _stop()


class WandbRun(TrackedRun):
    """A run of W&B, `run`, in its folder."""

    def __init__(self, run: Any, folder: Path, artifacts: bool = False) -> None:
        self.run, self.folder, self.artifacts = run, folder, artifacts
        if hasattr(run, "define_metric"):  # one's own tracker may have something like W&B's run
            safely(run.define_metric, _STEP)
            safely(partial(run.define_metric, "*", step_metric=_STEP, step_sync=True))

    def log(self, values: Mapping[str, Any], step: int | None = None) -> None:
        self.run.log(dict(values) if step is None else {**values, _STEP: step})

    def image(self, key: str, path: Path, step: int | None = None) -> None:
        import wandb

        self.log({key: [wandb.Image(str(path))]}, step)

    def summary(self, values: Mapping[str, float], cards: Mapping[str, Any]) -> None:
        self.run.summary.update({**values, "cards": cards})

    def table(self, key: str, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        import wandb

        with _data_in(self.folder / "wandb"):
            self.log({key: wandb.Table(columns=list(head), data=[list(row) for row in rows])})

    def page(self, key: str, html: str) -> None:
        import wandb

        self.log({key: wandb.Html(html, inject=False)})

    def keep(self, artifact: Artifact) -> None:
        """Log an artifact. An offline run needs its files when it is sent: they are kept in the run folder by
        a second name, which costs no room, or as a copy where there are no such names.
        """
        import wandb

        folder = self.folder.resolve() / "wandb" / "artifacts" / secrets.token_hex(4)
        name, about = f"{artifact.name}-{self.run.id}", dict(artifact.metadata)
        made = wandb.Artifact(name, artifact.kind, metadata=about)
        for name, path in artifact.files.items():
            make_folder((folder / name).parent)
            link_or_copy(path, folder / name)
            made.add_file(str(folder / name), name, skip_cache=True, policy="immutable")
        files = list(artifact.files.values())
        content = [_alias(digest(files[0]))] if artifact.kind == "model" else []
        self.run.log_artifact(made, aliases=["latest", *artifact.aliases, *content])

    def use(self, checkpoint: Path) -> None:
        """Record the checkpoint by its digest, and the artifact that has it where W&B can be asked."""
        sha256 = digest(checkpoint)
        of = id_of(checkpoint.parent) or id_of(checkpoint.parent.parent)
        name = f"model-{of}:{_alias(sha256)}" if of else None
        source = {"file": checkpoint.name, "sha256": sha256, "artifact": name}
        self.run.config.update({"source": source}, allow_val_change=True)
        if name and not self.run.offline:
            try:
                self.run.use_artifact(name, type="model")
            except Exception as error:  # it was never sent, or is another's: no common type
                say(f"W&B has no artifact of this checkpoint ({line(error)}): its digest is recorded")

    def alert(self, title: str, text: str, stopped: bool = False) -> None:
        """Alert; one that is stopped ends as preempted, so that an agent's sweep gives it out again."""
        self.run.alert(title[:60], text, level="WARN" if stopped else "ERROR")
        if stopped:
            self.run.mark_preempting()
            self.run.finish(exit_code=Interrupted.code)

    def look(self) -> Sequence[tuple[str, Path]]:
        runs = sorted((self.folder / "wandb").glob("offline-run-*"))
        return [("W&B, offline; to send it: wandb sync", run) for run in runs]


def _alias(sha256: str) -> str:
    return f"sha256-{sha256[:16]}"


@contextmanager
def _data_in(folder: Path) -> Iterator[None]:
    """Have W&B keep in the run folder what an offline run needs when it is sent, not in the person's home."""
    before = os.environ.get(_DATA)
    os.environ[_DATA] = before or str(folder.resolve())
    try:
        yield
    finally:
        os.environ.pop(_DATA)
        os.environ |= {} if before is None else {_DATA: before}


@contextmanager
def _without_secrets() -> Iterator[None]:
    """Hide secrets in sys.argv while W&B begins a run, which records it."""
    before, sys.argv = sys.argv, redact_typed(sys.argv)
    try:
        yield
    finally:
        sys.argv = before


def _stop() -> None:
    """End W&B's service, so that neither the exit nor the next run waits for it."""
    if (wandb := sys.modules.get("wandb")) is not None:
        try:
            wandb.teardown()
        except Exception as error:
            say(f"W&B's service was not ended ({line(error)})")
