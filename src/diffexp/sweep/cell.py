"""The cells of a sweep, each known by the hash of what it computes, and the folder that they share.

The same command finds the same folder, and in it the cells that are done.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from diffexp.config.build import ALLOWED, build
from diffexp.config.moved import LATER, first_names
from diffexp.config.suggest import path_of
from diffexp.errors import ConfigError
from diffexp.files import write
from diffexp.redact import redact_typed
from diffexp.run.plan import fault
from diffexp.run.results import PLAN

ASIDE = ("dir", "name", "logger", "data_root", "dry_run", "resume", "sweep")  # keys that change no result


@dataclass(frozen=True)
class Cell:
    """One job: its id, what was typed for it, the composed configuration without interpolations."""

    id: str
    typed: tuple[str, ...]
    config: dict[str, Any]
    choices: dict[str, str]
    folder: Path

    @cached_property
    def redacted(self) -> list[str]:
        """The overrides that were typed for it, for others to read: without secrets."""
        return redact_typed(self.typed)

    @cached_property
    def shown(self) -> dict[str, str]:
        """The value of each key of `redacted`."""
        parts = map(_parts, self.redacted)
        return {key: value for key, value in parts if value is not None}


def folder_id(typed: Sequence[str]) -> str:
    """Return eight letters for the overrides of a sweep: what varies counts by its key, the rest by its
    value, so that a value more is a cell more in the same folder.
    """
    parts = []
    for text in typed:
        key, _, value = text.partition("=")
        if key.split(".")[0] in ASIDE:
            continue
        parts.append(key if _varies(value) else text)
    return hashlib.sha256("\n".join(sorted(parts)).encode()).hexdigest()[:8]


def _varies(value: str) -> bool:
    depth = 0
    for letter in value:
        depth += (letter in "[{(") - (letter in "]})")
        if letter == "," and depth == 0:
            return True
    return value.startswith(("range(", "choice(", "glob(", "interval("))


def identity(config: Mapping[str, Any]) -> str:
    """Return the hash of what a job computes: its configuration, its checkpoint, its data or images. Raises
    DiffexpError.
    """
    hashed = first_names(_as_before({key: value for key, value in config.items() if key not in ASIDE}))
    task = config.get("task", {})
    if isinstance(task, Mapping) and task.get("ckpt"):
        hashed["ckpt"] = _digest(str(task["ckpt"]))
    elif isinstance(config.get("data"), Mapping):
        hashed["fingerprint"] = _fingerprint(json.dumps(config["data"]), tuple(config.get("plugins", ())))
    if config.get("init"):
        hashed["init"] = _digest(str(config["init"]))
    if isinstance(task, Mapping) and task.get("adapters"):
        hashed["adapters"] = [_digest(str(path)) for path in task["adapters"]]
    if isinstance(task, Mapping) and task.get("images"):
        hashed["images"] = tree_digest(path_of(task["images"], "task.images"))
    return hashlib.sha256(json.dumps(hashed, sort_keys=True).encode()).hexdigest()[:12]


def _as_before(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {k: _as_before(v) for k, v in node.items() if k not in LATER or LATER[k] != v}
    return [_as_before(v) for v in node] if isinstance(node, list) else node


@lru_cache(maxsize=64)
def _digest(path: str) -> str:
    from diffexp.model.checkpoint import digest
    from diffexp.model.find import find

    file = find(path)
    return digest(file) if file.is_file() else "none"


def tree_digest(path: Path) -> str:
    """Return the digest of a file or of all files of a folder: of their names, sizes and times."""
    digest = hashlib.sha256()
    files = sorted(Path(f, n) for f, _, ns in os.walk(path) for n in ns) if path.is_dir() else [path]
    for file in files:
        stat = file.stat() if file.is_file() else None
        digest.update(f"{file}\0{stat and stat.st_size}\0{stat and stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


@lru_cache(maxsize=64)
def _fingerprint(node: str, plugins: tuple[str, ...]) -> str:
    data = build(json.loads(node), "data", (*ALLOWED, *plugins))
    data.check()
    return str(data.fingerprint("train"))


def _parts(text: str) -> tuple[str, str | None]:
    key, equal, value = text.lstrip("+~").partition("=")
    return key, value if equal else None


def varying(lines: Sequence[Sequence[str]]) -> dict[str, list[str]]:
    """Return the keys that were typed with several values, and these in their order, without secrets."""
    values: dict[str, dict[str, str]] = {}
    for typed in lines:
        for text, redacted in zip(typed, redact_typed(typed), strict=True):
            key, value = _parts(text)
            values.setdefault(key, {}).setdefault(value or "", _parts(redacted)[1] or "")
    return {key: list(dict.fromkeys(v.values())) for key, v in values.items() if len(v) > 1}


def plan_of(name: str, layout: object, keys: Mapping[str, Sequence[str]], command: str) -> dict[str, Any]:
    """Return plan.json without its cells: keys are what varies, with its values. Raises ConfigError."""
    plan = {"name": name, "command": command, "layout": layout, "varying": keys, "cells": []}
    if wrong := fault(plan):
        key, wanted = wrong[0].replace("layout", "sweep"), wrong[1]
        raise ConfigError(f"{key} is not {wanted}", key, f"type {key}=..., or leave it out")
    return plan


def write_plan(folder: Path, plan: Mapping[str, Any], cells: Sequence[Cell]) -> None:
    """Write plan.json: the cells of the command that was typed last, for the table and the report."""
    rows = [
        {
            "id": cell.id,
            "typed": cell.redacted,
            "values": {key: cell.shown.get(key) for key in plan["varying"]},
            "folder": f"jobs/{cell.folder.name}",
        }
        for cell in cells
    ]
    write(folder / PLAN, json.dumps({**plan, "cells": rows}, indent=1, ensure_ascii=False) + "\n")
