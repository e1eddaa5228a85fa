"""A picture that is a part of a file: of a shard, or of a pack of pictures."""

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from diffexp.errors import DataError
from diffexp.files import open_regular

MOST_BYTES = 256 << 20  # of one picture in its file, which is read at once


class OpenFile:
    """A file that stays open, and is read at any place; closed when nobody has it any more.

    Raises DataError for what is no regular file, OSError.
    """

    def __init__(self, path: Path) -> None:
        with open_regular(path) as file:
            self._number = os.dup(file.fileno())

    def __del__(self) -> None:
        if hasattr(self, "_number"):  # else it could not be opened
            os.close(self._number)

    def read(self, offset: int, size: int) -> bytes:
        """Return the bytes at a place. Raises as `piece`."""
        return piece(self._number, offset, size, MOST_BYTES)


class Member(NamedTuple):
    """The bytes from `offset` on, `size` of them, of a file. file: opens it, or gives it where it is open
    already; described: says which part of which file this is, for people, when something is wrong with it.
    """

    file: Callable[[], OpenFile]
    offset: int
    size: int
    described: Callable[[], str]

    def __str__(self) -> str:
        return self.described()

    def open(self) -> io.BytesIO:
        """Return the bytes as a file in memory. Raises DataError where the file has not so many, OSError."""
        return io.BytesIO(self.file().read(self.offset, self.size))


def piece(number: int, offset: int, size: int, most: int) -> bytes:
    """Return the bytes at a place of an open file. Raises DataError for more than `most`, and for fewer than
    there should be.
    """
    if size > most:
        raise DataError(f"it has {size:,} bytes, more than {most:,}")
    content = os.pread(number, size, offset)
    if len(content) < size:
        raise DataError(f"its file ends after {len(content):,} of its {size:,} bytes")
    return content
