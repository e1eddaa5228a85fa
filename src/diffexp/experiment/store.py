"""Results of a sweep on disk: results.jsonl, a row for each job that has ended, and plan.json, the question.

Rows are appended whole, under a lock, by whichever process ran the job; of two of the same job the last
counts.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from diffexp.errors import ConfigError, ResourceError
from diffexp.files import json_rows, open_to_append
from diffexp.locks import Busy, lock, locked

ROWS, PLAN, LOCK = "results.jsonl", "plan.json", ".lock"


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
    """Return the last row of each job, by its id; a line that was cut off does not count."""
    return {row["id"]: row for row in json_rows(folder / ROWS) if isinstance(row.get("id"), str)}


def remove_if_empty(folder: Path) -> None:
    """Made before anything was checked, and found wrong: of the parents those that are empty go as well."""
    with suppress(OSError, ValueError):
        if [path.name for path in folder.iterdir()] == [LOCK]:
            (folder / LOCK).unlink()
        os.removedirs(os.path.relpath(folder))


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
