"""result.json: how a run has ended and what it has measured, for programs. Its form is result.schema.json.

A key may be added within a version of the form; one that goes, or means something else, makes another one.
"""

import hashlib
import json
import math
import os
import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from diffexp.errors import DiffexpError, Interrupted, as_ours
from diffexp.files import read_small
from diffexp.redact import redact, redact_text, redact_typed

NAME, VERSION = "result.json", 1
_FILES, _WARNINGS = 1000, 100
_ASIDE = ("cards", "n", "nfe", "seconds", "sampling_seconds", "train_seconds", "steps", "epoch")
"""Results that are no metric."""


def result(
    folder: Path,
    about: Mapping[str, Any],
    began: float,
    seconds: float,
    results: Mapping[str, Any],
    error: BaseException | None = None,
    warnings: Sequence[str] = (),
    ended: bool = True,
) -> dict[str, Any]:
    """Return what result.json holds. about: of `about`; began: since 1970."""
    status, code = ended_by(error) if ended else ("running", None)
    files = sorted(_files(folder)) if ended else []
    return {
        "schema": VERSION,
        "status": status,
        "exit_code": code,
        "error": None if error is None else _error(error),
        **about,
        "config_sha256": _digest(folder / "config.yaml"),
        "started": _time(began),
        "ended": _time(began + seconds) if ended else None,
        "seconds": round(seconds, 1),
        "metrics": metrics(results),
        "results": finite(
            redact({k: v for k, v in results.items() if k != "cards" and not _is_metric(k, v)})
        ),
        "files": [{"path": path, "bytes": size} for path, size in files[:_FILES]],
        "files_left_out": max(0, len(files) - _FILES),
        "warnings": [redact_text(text) for text in dict.fromkeys(warnings)][:_WARNINGS],
    }


def about(config: Mapping[str, Any], typed: Sequence[str]) -> dict[str, Any]:
    """Return what a run is; its task as it is typed, or of one's own the name of the class. typed: without
    secrets.
    """
    chosen = (config.get("choices") or {}).get("task")
    target = str((config.get("task") or {}).get("_target_", "")).rpartition(".")[2]
    return {
        "task": chosen or target or None,
        "name": config.get("name"),
        "seed": config.get("seed"),
        "command": shlex.join(redact_typed(sys.argv)),
        "overrides": list(typed),
    }


def ended_by(error: BaseException | None) -> tuple[str, int]:
    """Return how a run has ended, done, failed or stopped, and its exit code."""
    if error is None:
        return "done", 0
    if isinstance(error, (KeyboardInterrupt, SystemExit)):
        return "stopped", 130
    ours = error if isinstance(error, DiffexpError) else as_ours(error)
    return "stopped" if isinstance(error, Interrupted) else "failed", 1 if ours is None else ours.code


def metrics(results: Mapping[str, Any]) -> dict[str, Any]:
    """Return {name: {value, standard_error, n, card}}; a value that is not finite is None."""
    cards = results["cards"] if isinstance(results.get("cards"), Mapping) else {}
    out = dict[str, Any]()
    for name, value in results.items():
        if _is_metric(name, value):
            card = finite(redact(cards.get(name) or cards.get(name.split("@")[0]) or {}))
            error, n = card.get("standard_error"), card.get("n")
            out[name] = {"value": finite(value), "standard_error": error, "n": n, "card": card}
    return out


def finite(value: Any) -> Any:
    """Return plain values with None for numbers that JSON does not have, and text for what it cannot hold."""
    if isinstance(value, Mapping):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def text_of(value: Mapping[str, Any]) -> str:
    """Return it as the text of the file, in ASCII: a name may have letters that no encoding has."""
    return json.dumps(value, indent=1, allow_nan=False) + "\n"


def last_words(value: Mapping[str, Any]) -> str:
    """Return the shortened text for a disk with no room for more."""
    error = value["error"] and {k: v[:500] for k, v in value["error"].items()}
    less = {"error": error, "command": "", "overrides": [], "metrics": {}, "results": {}}
    return text_of({**value, **less, "files": [], "files_left_out": len(value["files"]), "warnings": []})


def _is_metric(name: str, value: Any) -> bool:
    return name not in _ASIDE and isinstance(value, (int, float)) and not isinstance(value, bool)


def _error(error: BaseException) -> dict[str, str]:
    ours = error if isinstance(error, DiffexpError) else as_ours(error)
    what, at, do = (
        (f"{type(error).__name__}: {error}", "", "") if ours is None else (ours.what, ours.where, ours.do)
    )
    return {"type": type(error).__name__, "what": redact_text(what), "at": at, "do": do}


def _files(folder: Path) -> Iterator[tuple[str, int]]:
    """Yield (path, bytes) of the files in a folder but for this one and hidden ones; no link is followed."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            path = Path(place, name)
            if not name.startswith(".") and name != NAME and not path.is_symlink():
                with suppress(OSError):
                    yield path.relative_to(folder).as_posix(), path.stat().st_size


def _digest(path: Path) -> str | None:
    with suppress(OSError, DiffexpError):
        return hashlib.sha256(read_small(path, 1 << 24)).hexdigest()
    return None


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
