"""Trackers beside metrics.jsonl, chosen by logger=NAME: what each is asked for. They need no Lightning, for
not every run trains.
"""

import os
import re
import secrets
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from diffexp.errors import ConfigError, Interrupted, printable
from diffexp.files import make_folder, write
from diffexp.notice import say, warn
from diffexp.training.place import Moved

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_said = set[str]()


def first() -> bool:
    """Return whether this is the first process of its run, by what torchrun, Lightning or Slurm has set."""
    names = ("RANK",) if "RANK" in os.environ else ("LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")
    return all(os.environ.get(name, "0") == "0" for name in names)


class Tracker(Protocol):
    """A tracker is opened when a run begins and closed when it ends, also by an error. `open` gives a
    TrackedRun, or a run of W&B, or None where there is to be none, or none could be had: what tracks a run
    never ends it.
    """

    def open(
        self, folder: Path, name: str, kind: str, tags: Sequence[str], config: Mapping[str, Any]
    ) -> Any: ...

    def close(self, failed: bool = False) -> None: ...


@dataclass(frozen=True)
class Artifact:
    """Files to be kept by a tracker: their places by their names in it, of a model its weights first.

    kind: model or dataset.
    """

    name: str
    kind: str
    files: Mapping[str, Path]
    aliases: Sequence[str] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)


class TrackedRun:
    """A run as a tracker has it. Each method does nothing where a tracker has no such thing; whoever calls
    one does so by `safely`.
    """

    artifacts = False
    """Whether it keeps files."""

    def log(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Log values, at a step of the optimizer."""

    def image(self, key: str, path: Path, step: int | None = None) -> None:
        """Show a picture."""

    def summary(self, values: Mapping[str, float], cards: Mapping[str, Any]) -> None:
        """Show the numbers that the run ends with; cards: how each was made."""

    def table(self, key: str, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Show a table."""

    def page(self, key: str, html: str) -> None:
        """Show a page."""

    def keep(self, artifact: Artifact) -> None:
        """Keep files."""

    def use(self, checkpoint: Path) -> None:
        """Say which checkpoint the run has begun with."""

    def alert(self, title: str, text: str, stopped: bool = False) -> None:
        """Tell whoever is away; stopped: the run may go on later."""

    def cut(self, step: int) -> None:
        """Forget what comes after a step, before anything is logged: it comes again."""

    def look(self) -> Sequence[tuple[str, Path]]:
        """Return how it is looked at, and where, once it is closed."""
        return ()

    def close(self, failed: bool) -> None:
        """End the run."""


def safely(do: Callable[..., Any], *args: Any) -> None:
    """Call what tracks a run; what fails is said, once, and costs itself alone."""
    try:
        do(*args)
    except (Interrupted, Moved):
        raise
    except Exception as error:  # of files, of services: no common type
        text = f"the tracker failed ({line(error)}): metrics.jsonl has the values"
        if text not in _said:
            warn(text)
        _said.add(text)


@dataclass(frozen=True)
class NoTracker:
    """The tracker of runs that have metrics.jsonl alone."""

    def open(
        self, folder: Path, name: str, kind: str, tags: Sequence[str], config: Mapping[str, Any]
    ) -> None:
        return None

    def close(self, failed: bool = False) -> None:
        return None


class OneRun:
    """A tracker that has one TrackedRun at a time, which `begin` begins. words: its name."""

    words = ""

    def __init__(self) -> None:
        self._run: TrackedRun | None = None

    def open(
        self, folder: Path, name: str, kind: str, tags: Sequence[str], config: Mapping[str, Any]
    ) -> TrackedRun | None:
        """Return the run; None in all processes but the first, and where it fails, which it says."""
        if not first():
            return None
        try:
            self._run = self.begin(folder, name, kind, tags, config)
        except Interrupted:
            raise
        except Exception as error:  # a full disk, a link: no common type
            say(f"without {self.words}, which failed ({line(error)}): metrics.jsonl has the values")
        return self._run

    @abstractmethod
    def begin(
        self, folder: Path, name: str, kind: str, tags: Sequence[str], config: Mapping[str, Any]
    ) -> TrackedRun:
        """Begin a run."""
        ...

    def close(self, failed: bool = False) -> None:
        run, self._run = self._run, None
        if run is not None:
            safely(run.close, failed)


def needs(package: str) -> None:
    """Raise ConfigError where the package of a tracker is not installed."""
    if find_spec(package) is None:
        do = f"pip install 'diffexp[{package}]', or type logger=csv or logger=none"
        raise ConfigError(f"{package} is not installed", "logger", do)


def id_in(file: Path, tracker: str, made: str | None = None) -> str:
    """Return the same id for a run that goes on in its folder; else `made`, or a new one, and say so where
    the file is damaged.
    """
    make_folder(file.parent)
    there = file.is_symlink() or file.exists()
    if there and _ID.fullmatch(text := _content(file)) and made in (None, text):
        return text
    write(file, made := made or secrets.token_hex(4))
    if there:
        say(f"{file} holds no id of a run: {tracker} has this as a new run")
    return made


def id_of(folder: Path) -> str | None:
    """Return the id that W&B has for the run in a folder; None where there is none."""
    text = _content(folder / "wandb" / "id")
    return text if _ID.fullmatch(text) else None


def _content(file: Path) -> str:
    """Return a hundred bytes of a regular file; nothing outside the run folder is taken for an id."""
    if file.is_symlink() or not file.is_file():
        return ""
    with file.open("rb") as opened:
        return opened.read(100).decode("ascii", "replace").strip()


def line(error: Exception) -> str:
    """Return the first line of what an error says."""
    return printable(str(error) or type(error).__name__).splitlines()[0]


def markdown(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a table in Markdown; a number has six digits."""
    cells = [[_cell(value) for value in row] for row in (head, ["---"] * len(head), *rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def _cell(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else "" if value is None else str(value)
    return text.replace("|", "\\|").replace("\n", " ")


def results_table(values: Mapping[str, float], cards: Mapping[str, Any]) -> str:
    """Return the numbers of a run, and how each was made, as a table in Markdown."""
    made = {k: "; ".join(f"{n}: {v}" for n, v in cards.get(k, {}).items()) for k in values}
    return markdown(["metric", "value", "how it was made"], [[k, v, made[k]] for k, v in values.items()])
