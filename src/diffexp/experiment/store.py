"""Results of a sweep on disk: results.jsonl, a row for each job that has ended, and plan.json, the question.

Rows are appended whole, under a lock, by whichever process ran the job; of two of the same job the last
counts.
"""

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from diffexp.errors import ConfigError, ResourceError

ROWS, PLAN, LOCK = "results.jsonl", "plan.json", ".lock"


def append(folder: Path, row: Mapping[str, Any]) -> None:
    """One row, on the disk when this returns. Raises ResourceError."""
    line = json.dumps(row, ensure_ascii=False) + "\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ROWS).open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if file.tell() and _last_byte(file) != b"\n":
                file.write(b"\n")  # the line before was cut off
            file.write(line.encode())
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
    """The last row of each job, by its id; a line that was cut off does not count."""
    found: dict[str, dict[str, Any]] = {}
    path = folder / ROWS
    if not path.exists():
        return found
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
            found[row["id"]] = row
        except (ValueError, KeyError, TypeError):
            continue
    return found


def write(path: Path, text: str) -> None:
    """All of it or nothing. Raises ResourceError."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        do = "free some disk, or make the folder writable"
        raise ResourceError(f"cannot be written: {error.strerror}", str(path), do) from error


def remove_if_empty(folder: Path) -> None:
    """Made before anything was checked, and found wrong: of the parents those that are empty go as well."""
    with suppress(OSError, ValueError):
        if [path.name for path in folder.iterdir()] == [LOCK]:
            (folder / LOCK).unlink()
        os.removedirs(os.path.relpath(folder))


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Holds the folder for one process; removes it if nothing was put there. Raises ConfigError while another
    has it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK).open("a+")
    except OSError as error:
        do = "choose another folder with dir=..., or make this one writable"
        raise ResourceError(f"cannot write to the folder: {error.strerror}", str(folder), do) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            who = file.read().strip() or "unknown"
            do = "wait for it, or choose another folder"
            raise ConfigError(f"another process is at work in this folder ({who})", str(folder), do) from None
        file.truncate(0)
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        file.write(f"process {os.getpid()} on {socket.gethostname()} since {since}\n")
        file.flush()
        try:
            yield
        finally:
            remove_if_empty(folder)
