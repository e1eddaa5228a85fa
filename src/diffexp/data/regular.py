"""Read from a folder that anyone may have filled: regular files of a bounded size, and none outside of it.

A link to a file inside of the folder is read. One that leads out of it is not, unless the user follows links:
the caption of an image could be a private file of whoever reads it.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

from diffexp.errors import ConfigError, DataError
from diffexp.files import open_regular
from diffexp.notice import warn

Links = Literal["refuse", "follow"]


def text(path: Path, most: int) -> str:
    """Return a text in UTF-8, without the mark at its beginning, its lines ended by line feeds alone.

    Raises DataError for a file of more than `most` bytes, and for what cannot be read.
    """
    try:
        with open_regular(path) as file:
            if os.fstat(file.fileno()).st_size > most:
                raise DataError(f"this file has more than {most >> 20} MB", str(path), "make it shorter")
            content = file.read(most)
        decoded = content.decode("utf-8-sig")
    except (OSError, UnicodeError) as error:
        raise DataError(f"this file cannot be read: {error}", str(path), "save it as UTF-8") from error
    return decoded.replace("\r\n", "\n").replace("\r", "\n")


def outside(path: Path, folder: Path) -> Path | None:
    """Return where a link leads, if that is out of the folder."""
    if not path.is_symlink():
        return None
    goal = Path(os.path.realpath(path))
    return None if goal.is_relative_to(os.path.realpath(folder)) else goal


def check_link(path: Path, folder: Path, links: Links) -> None:
    """Raise DataError for a link that leads out of the folder, unless links are followed."""
    if links == "refuse" and (goal := outside(path, folder)):
        do = "put the file itself there, or, if you trust the folder, type data.links=follow"
        raise DataError(f"this is a link out of the folder, to {goal}", str(path), do)


def walk(folder: Path, links: Links) -> Iterator[Path]:
    """Yield all files below a folder, in no order.

    Links to folders are followed where links are: after all folders that are none, and into each folder once,
    so that no loop is endless and no image is there twice.
    """
    todo, linked, seen = [folder], [], set()
    while todo or linked:
        here = todo.pop() if todo else linked.pop()
        try:
            there = os.stat(here)
            if links == "follow" and (there.st_dev, there.st_ino) in seen:
                continue
            seen.add((there.st_dev, there.st_ino))
            with os.scandir(here) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            warn(f"left out, for it cannot be read: {here} ({error.strerror})")
            continue
        for entry in entries:
            path = Path(here, entry.name)
            if not _is_folder(entry):
                yield path
            elif not entry.is_symlink():
                todo.append(path)
            elif links == "follow":
                linked.append(path)
            elif goal := outside(path, folder):
                warn(f"left out: {path} is a link to the folder {goal}; links=follow reads it")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or to what this person may not see
        return False


def typed_path(name: str, key: str) -> Path:
    """Return a path that was typed, with ~. Raises ConfigError for what can be none; key: where it stands."""
    try:
        path = Path(str(name)).expanduser()
        with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            os.stat(path)
    except (ValueError, RuntimeError, OSError) as error:
        what = f"{str(name)[:200]!r} is no path: {str(error)[:200]}"
        raise ConfigError(what, key, f"give the path of a file or folder: {key}=...") from error
    return path
