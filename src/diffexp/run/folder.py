"""The files of a folder that describe its run: config.yaml, overrides.yaml, run.json, result.json, log."""

import io
import json
import logging
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from diffexp import notice
from diffexp.errors import DataError, ResourceError
from diffexp.files import open_to_append, overwrite, read_json, write
from diffexp.redact import redact_text, redact_typed
from diffexp.run import result
from diffexp.run.results import alone, refuse_links
from diffexp.training.place import Moved, Place
from diffexp.training.signals import deaf
from diffexp.training.tracker import first

ROOM = 4096  # bytes of run.json, so that on a full disk there is room for its end
TRACKERS = ("wandb", "tensorboard", "trackio")  # the folders that they write into
PACKAGES = ("diffexp", "torch", "lightning", "hydra-core", "torchmetrics", "torch-fidelity", "numpy")


class Record:
    """The record of a run, written when the run begins and again when it ends, with its results.

        with Record(folder, config, typed) as record:
            record.results["val/fid"] = 3.2

    warned: how much notice.py had warned of before the run was checked.
    Only the first process of a run writes. Raises ResourceError for a folder that cannot be written, or is
    moved away, and DataError for links in it.
    """

    def __init__(
        self, folder: Path, config: Mapping[str, Any], typed: Sequence[str], warned: int | None = None
    ) -> None:
        self.folder, self.config, self.typed = folder, config, redact_typed(typed)
        self.results: dict[str, Any] = {}
        self.first = first()
        self._warned = len(notice.warned) if warned is None else warned
        self.longer: list[dict[str, Any]] = []
        self._begun, self._start = time.time(), time.monotonic()  # a clock may be set back, this one not
        self._log: _Log | None = None
        self._place: Place | None = None
        self._held = ExitStack()

    def __enter__(self) -> "Record":
        if self.first:
            with ExitStack() as held:  # what was taken is given back if something here fails
                held.enter_context(alone(self.folder))
                self._begin(held)
                self._held = held.pop_all()
        return self

    def _begin(self, held: ExitStack) -> None:
        check_links(self.folder)
        try:
            self._place = held.enter_context(Place(self.folder))
            self.longer = _longer_before(self.folder / "run.json")
            write(self.folder / "config.yaml", _yaml(self.config))
            write(self.folder / "overrides.yaml", _yaml(self.typed))
            self._result(None, ended=False)
            self._json(None)
            self._log = _Log(self.folder / "log")
        except OSError as error:
            do = "choose another folder with dir=..., or free space on the disk"
            raise ResourceError(f"cannot write to the run folder: {error}", str(self.folder), do) from error

    def check(self) -> None:
        """Raise Moved, a ResourceError, where the folder is no longer at its path."""
        if self._place is not None:
            self._place.check()

    def tell_longer(self, change: Mapping[str, Any]) -> None:
        """Write at once that the run has got another number of steps, and what its learning rate did."""
        if self.first and dict(change) not in self.longer:
            self.longer.append(dict(change))
            self._json(None)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.first:
            with deaf():
                self._end(kind, error, trace)

    def _end(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            logging.getLogger("diffexp").error("%s", error, exc_info=(kind, error, trace))  # type: ignore
        if self._log is not None:
            self._log.close()
        try:
            with ExitStack() as after:  # whatever becomes of the first
                state = "done" if error is None else redact_text(f"{type(error).__name__}: {error}")
                after.callback(self._json, state)
                self._result(error or self._moved())
        except ResourceError:
            if error is None:  # else `error` is what is raised
                raise
        finally:
            self._held.close()

    def _result(self, error: BaseException | None, ended: bool = True) -> None:
        """Write result.json; where the folder is away, `_json` says so."""
        about, here = result.about(self.config, self.typed), self._here()
        warned = [*notice.warned[self._warned :], *([] if self._log is None else self._log.warnings)]
        seconds, path = time.monotonic() - self._start, here / result.NAME
        value = result.result(here, about, self._begun, seconds, self.results, error, warned, ended)
        try:
            write(path, result.text_of(value).ljust(ROOM))
        except ResourceError:
            if not ended or not overwrite(path, [result.text_of(value), result.last_words(value)]):
                raise

    def _moved(self) -> Moved | None:
        try:
            self.check()
        except Moved as error:
            return error
        return None

    def _here(self) -> Path:
        """Return the folder wherever it is now."""
        return self._place.now() if self._place and self._moved() else self.folder

    def _json(self, ended: str | None) -> None:
        import torch  # here, for the launcher of a sweep begins its processes before it loads torch

        description = {
            "command": shlex.join(redact_typed(sys.argv)),
            "state": ended or "running",
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._begun)),
            "seconds": round(time.monotonic() - self._start, 1),
            "seed": self.config.get("seed"),
            "results": self.results,
            "git": revision(),
            "python": platform.python_version(),
            "packages": {name: _version(name) for name in PACKAGES},
            "device": _device(),
            "threads": torch.get_num_threads(),
        }
        description |= {"lengthened": self.longer} if self.longer else {}
        text, moved = json.dumps(description, indent=2, ensure_ascii=False) + "\n", self._moved()
        path = self._here() / "run.json"
        try:
            write(path, text.ljust(ROOM))
        except ResourceError:
            if ended is None or not overwrite(path, [text, _last_words(description)]):
                raise
        if moved:
            raise moved


def _last_words(description: Mapping[str, Any]) -> str:
    """Return the shortened run.json for a disk with no room for more."""
    return (
        json.dumps({**description, "state": description["state"][:1000], "results": {}, "command": ""}) + "\n"
    )


def revision() -> str | None:
    """Return the commit of this code, with + when files differ from it; None outside git."""
    try:
        lines = [
            subprocess.run(
                ["git", *a], capture_output=True, text=True, timeout=5, check=True, cwd=Path(__file__).parent
            ).stdout.strip()
            for a in (["rev-parse", "--short=12", "HEAD"], ["status", "--porcelain", "-uno"])
        ]
    except (OSError, subprocess.SubprocessError):
        return None
    return lines[0] + ("+" if lines[1] else "")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _device() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()


def _yaml(value: Any) -> str:
    kind = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # ten times as fast
    return yaml.dump(value, Dumper=kind, sort_keys=False, allow_unicode=True, width=110)


def check_links(folder: Path) -> None:
    """Raise DataError for a run folder whose parts are links."""
    refuse_links(*(folder / name for name in ("checkpoints", "samples", *TRACKERS)))


def _longer_before(path: Path) -> list[dict[str, Any]]:
    """Return what run.json says of a run that goes on; [] where it cannot be read."""
    with suppress(DataError, OSError):
        changes = read_json(path).get("lengthened")
        return [row for row in changes if isinstance(row, dict)] if isinstance(changes, list) else []
    return []


class _Log(logging.StreamHandler[io.TextIOWrapper]):
    """The log of a run, beside what Python logs. A full disk costs its lines, and is reported once."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.TextIOWrapper(open_to_append(path), encoding="utf-8", errors="backslashreplace"))
        self.path, self._complained = path, False
        self.warnings: list[str] = []
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        root = logging.getLogger()
        root.addHandler(self)
        root.setLevel(min(root.level or logging.INFO, logging.INFO))

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING and record.name.startswith("diffexp."):
            self.warnings.append(record.getMessage())
        super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            return super().handleError(record)
        if not self._complained:
            self._complained = True
            print(f"the log cannot be written: {error.strerror}: {self.path}", file=sys.stderr, flush=True)

    def close(self) -> None:
        logging.getLogger().removeHandler(self)
        super().close()
        with suppress(OSError):
            self.stream.close()
