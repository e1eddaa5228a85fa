"""Results of a sweep on disk: results.jsonl, a row for each job that has ended, and plan.json, its plan.

Rows are appended whole, under a lock, by whichever process ran the job; of two of the same job the last
counts.
"""

import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from diffexp.errors import ConfigError, DataError, ResourceError
from diffexp.files import json_rows, open_to_append
from diffexp.locks import Busy, lock, locked

ROWS, PLAN, LOCK = "results.jsonl", "plan.json", ".lock"
_standing = set[Path]()
"""Folders that were there before this process made any."""


def append(folder: Path, row: Mapping[str, Any]) -> None:
    """Append one row, on the disk when this returns. Raises ResourceError, DataError."""
    line = json.dumps(row, ensure_ascii=False) + "\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open_to_append(folder / ROWS) as file:
            lock(file.fileno())
            if file.tell() and _last_byte(file) != b"\n":
                file.write(b"\n")  # the line before was cut off
            file.write(line.encode("utf-8", "surrogatepass"))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        do = "free some disk, or make the folder writable, and type the same command again"
        raise ResourceError(
            f"a result cannot be written: {error.strerror}", str(folder / ROWS), do
        ) from error


def _last_byte(file: Any) -> bytes:
    file.seek(-1, os.SEEK_END)
    return file.read(1)


def rows(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the last row of each job, by its id; what is no row of ours, or was cut off, does not count.
    Raises DataError.
    """
    return read_rows(folder)[0]


def read_rows(folder: Path) -> tuple[dict[str, dict[str, Any]], int]:
    """Return the last row of each job, by its id, and how many were left out, for no job writes such.
    Raises DataError.
    """
    path = folder / ROWS
    try:
        all_rows = json_rows(path) if path.is_file() else []
    except OSError as error:
        raise DataError(f"it cannot be read: {error.strerror}", str(path), "make it readable") from error
    kept = [row for row in all_rows if _sound(row)]
    return {row["id"]: row for row in kept}, len(all_rows) - len(kept)


def _sound(row: Mapping[str, Any]) -> bool:
    """Return whether a row is as we write it; what it has besides, or lacks, may be anything."""
    if not moderate(row) or not isinstance(row.get("results"), (Mapping, type(None))):
        return False
    results = row.get("results") or {}
    cards = results.get("cards") or {}
    return (
        isinstance(row.get("id"), str)
        and bool(row["id"])
        and row.get("state") in ("done", "failed")
        and (row.get("seconds") is None or is_number(row["seconds"]))
        and isinstance(row.get("error"), (str, type(None)))
        and isinstance(results.get("picture"), (str, type(None)))
        and _number_or_none(results.get("nfe"))
        and isinstance(cards, Mapping)
        and all(isinstance(card, Mapping) for card in cards.values())
        and all(_number_or_none(card.get("standard_error")) for card in cards.values())
    )


def is_number(value: object) -> bool:
    """Return whether it is a finite number; true and false are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _number_or_none(value: object) -> bool:
    return value is None or isinstance(value, float) or is_number(value)


def moderate(value: object, deep: int = 20) -> bool:
    """Return whether nothing in it is nested deeper than that, and no integer is too large for a float."""
    if isinstance(value, int):
        return abs(value) < 10**300
    inside = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return deep > 0 and all(moderate(v, deep - 1) for v in inside)


def refuse_links(*paths: Path) -> None:
    """Raise DataError where one of our folders is a link: what is written below it would lie elsewhere."""
    for path in paths:
        if path.is_symlink():
            do = "remove the link, or take another folder with dir=..."
            raise DataError("this is a link, and nothing is written through it", str(path), do)


def keep_standing(path: Path) -> None:
    """Note which folders at and above a path are there, before anything is made: they are not ours to
    remove.
    """
    above = (path.absolute(), *path.absolute().parents)
    _standing.update(p for p in above if os.path.isdir(p))  # which knows names that are too long for one


def remove_if_empty(folder: Path) -> None:
    """Remove a folder that was made before the checks refused the job, and its parents that are empty."""
    with suppress(OSError):
        if [path.name for path in folder.iterdir()] == [LOCK]:
            (folder / LOCK).unlink()
    keep_standing(Path())
    for path in (folder.absolute(), *folder.absolute().parents):
        if path in _standing:
            return
        try:
            path.rmdir()
        except FileNotFoundError:
            continue
        except OSError:
            return


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the folder for one process; remove it if nothing was put there. Raises ConfigError while another
    has it, DataError for links in it where we would write, ResourceError.
    """
    with ExitStack() as held:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(locked(folder / LOCK))
        except Busy as busy:
            do = "wait for it, or choose another folder"
            what = f"another process is at work in this folder ({busy})"
            raise ConfigError(what, str(folder), do) from None
        except OSError as error:
            do = "choose another folder with dir=..., or make this one writable"
            raise ResourceError(f"cannot write to the folder: {error.strerror}", str(folder), do) from error
        held.callback(remove_if_empty, folder)
        yield
