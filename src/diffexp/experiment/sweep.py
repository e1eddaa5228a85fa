"""What a sweep is made of: cells, each the hash of what it computes, and the folder that they share.

The same command finds the same folder, and in it the cells that are done.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from diffexp.experiment.build import ALLOWED, build
from diffexp.experiment.names import path_of
from diffexp.experiment.redact import redact_typed
from diffexp.experiment.store import PLAN, rows
from diffexp.files import write

ASIDE = ("dir", "name", "logger", "data_root", "dry_run", "resume", "sweep")  # what changes no result


@dataclass(frozen=True)
class Cell:
    """One job: its id, what was typed for it, the composed configuration without interpolations."""

    id: str
    typed: tuple[str, ...]
    config: dict[str, Any]
    choices: dict[str, str]
    folder: Path

    def value(self, key: str) -> str | None:
        """What was typed for a key."""
        return dict(t.lstrip("+~").split("=", 1) for t in self.typed if "=" in t).get(key)


def folder_id(typed: Sequence[str]) -> str:
    """Eight letters for the overrides of a sweep: what varies counts by its key, the rest by its value, so
    that a value more is a cell more in the same folder.
    """
    told = []
    for text in typed:
        key, _, value = text.partition("=")
        if key.split(".")[0] in ASIDE:
            continue
        told.append(key if _varies(value) else text)
    return hashlib.sha256("\n".join(sorted(told)).encode()).hexdigest()[:8]


def _varies(value: str) -> bool:
    depth = 0
    for letter in value:
        depth += (letter in "[{(") - (letter in "]})")
        if letter == "," and depth == 0:
            return True
    return value.startswith(("range(", "choice(", "glob(", "interval("))


def identity(config: Mapping[str, Any]) -> str:
    """The hash of what a job computes: its configuration, its checkpoint, its data or images. Raises
    DiffexpError.
    """
    told = {key: value for key, value in config.items() if key not in ASIDE}
    task = config.get("task", {})
    if isinstance(task, Mapping) and task.get("ckpt"):
        told["ckpt"] = _digest(str(task["ckpt"]))
    elif isinstance(config.get("data"), Mapping):
        told["fingerprint"] = _fingerprint(json.dumps(config["data"]), tuple(config.get("plugins", ())))
    if isinstance(task, Mapping) and task.get("images"):
        told["images"] = tree_digest(path_of(task["images"], "task.images"))
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:12]


@lru_cache(maxsize=64)
def _digest(path: str) -> str:
    from diffexp.experiment.stored import find
    from diffexp.training.checkpoint import digest

    found = find(path)
    return digest(found) if found.is_file() else "none"


def tree_digest(path: Path) -> str:
    """Of a file or all files of a folder: their names, sizes and times."""
    told = hashlib.sha256()
    files = sorted(Path(f, n) for f, _, ns in os.walk(path) for n in ns) if path.is_dir() else [path]
    for file in files:
        stat = file.stat() if file.is_file() else None
        told.update(f"{file}\0{stat and stat.st_size}\0{stat and stat.st_mtime_ns}\n".encode())
    return told.hexdigest()


@lru_cache(maxsize=64)
def _fingerprint(node: str, plugins: tuple[str, ...]) -> str:
    data = build(json.loads(node), "data", (*ALLOWED, *plugins))
    data.check()
    return str(data.fingerprint("train"))


def varying(cells: Sequence[Cell]) -> dict[str, list[str]]:
    """The keys that were typed with several values, and these in their order."""
    found: dict[str, list[str]] = {}
    for cell in cells:
        for text in cell.typed:
            key, _, value = text.lstrip("+~").partition("=")
            if value not in found.setdefault(key, []):
                found[key].append(value)
    return {key: values for key, values in found.items() if len(values) > 1}


def write_plan(
    folder: Path, cells: Sequence[Cell], layout: Mapping[str, Any], name: str, command: str
) -> None:
    """plan.json: the cells of the command that was typed last, for the table and the report."""
    keys = varying(cells)
    told = {
        "name": name,
        "command": command,
        "layout": dict(layout),
        "varying": keys,
        "cells": [
            {
                "id": cell.id,
                "typed": redact_typed(cell.typed),
                "values": {k: cell.value(k) for k in keys},
                "folder": f"jobs/{cell.folder.name}",
            }
            for cell in cells
        ],
    }
    write(folder / PLAN, json.dumps(told, indent=1, ensure_ascii=False) + "\n")


def left(folder: Path, cells: Sequence[Cell]) -> list[Cell]:
    """The cells that have no result yet."""
    done = {key for key, row in rows(folder).items() if row.get("state") == "done"}
    return [cell for cell in cells if cell.id not in done]
