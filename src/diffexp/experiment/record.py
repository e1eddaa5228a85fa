"""What a run folder says about its run: config.yaml, overrides.yaml, run.json, log."""

import json
import logging
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from diffexp.errors import ResourceError
from diffexp.experiment.redact import redact_typed
from diffexp.experiment.store import alone
from diffexp.files import open_to_append, write
from diffexp.training.tracker import first

PACKAGES = ("diffexp", "torch", "lightning", "hydra-core", "torchmetrics", "torch-fidelity", "numpy")


class Record:
    """Written when the run begins and again when it ends, with what it found.

        with Record(folder, config, typed) as record:
            record.results["val/fid"] = 3.2

    Only the first process of a run writes. Raises ResourceError for a folder that cannot be written.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any], typed: Sequence[str]) -> None:
        self.folder, self.config, self.typed = folder, config, redact_typed(typed)
        self.results: dict[str, Any] = {}
        self.first = first()
        self._start = time.time()
        self._log: logging.Handler | None = None
        self._held = ExitStack()

    def __enter__(self) -> "Record":
        if self.first:
            self._held.enter_context(alone(self.folder))
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                write(self.folder / "config.yaml", _yaml(self.config))
                write(self.folder / "overrides.yaml", _yaml(self.typed))
                self._json(None)
                self._log = _log_to(self.folder / "log")
            except OSError as error:
                do = "choose another folder with dir=..., or free space on the disk"
                raise ResourceError(
                    f"cannot write to the run folder: {error}", str(self.folder), do
                ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.first:
            return
        if error is not None:
            logging.getLogger("diffexp").error("%s", error, exc_info=(kind, error, trace))  # type: ignore
        if self._log is not None:
            logging.getLogger().removeHandler(self._log)
            self._log.close()
        self._json("done" if error is None else f"{kind.__name__}: {error}" if kind else "stopped")
        self._held.close()

    def _json(self, ended: str | None) -> None:
        import torch  # here, for the launcher of a sweep begins its processes before it loads torch

        told = {
            "command": shlex.join(redact_typed(sys.argv)),
            "state": ended or "running",
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._start)),
            "seconds": round(time.time() - self._start, 1),
            "seed": self.config.get("seed"),
            "results": self.results,
            "git": revision(),
            "python": platform.python_version(),
            "packages": {name: _version(name) for name in PACKAGES},
            "device": _device(),
            "threads": torch.get_num_threads(),
        }
        write(self.folder / "run.json", json.dumps(told, indent=2, ensure_ascii=False) + "\n")


def revision() -> str | None:
    """The commit of this code, with + when files differ from it; None outside git."""
    try:
        told = [
            subprocess.run(
                ["git", *a], capture_output=True, text=True, timeout=5, check=True, cwd=Path(__file__).parent
            ).stdout.strip()
            for a in (["rev-parse", "--short=12", "HEAD"], ["status", "--porcelain", "-uno"])
        ]
    except (OSError, subprocess.SubprocessError):
        return None
    return told[0] + ("+" if told[1] else "")


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


def _log_to(path: Path) -> logging.Handler:
    open_to_append(path).close()  # or it would be written through a link
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(min(root.level or logging.INFO, logging.INFO))
    return handler
