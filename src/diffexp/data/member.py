"""A picture that is a part of a file: of a shard, or of a pack of pictures."""

import io
import os
from pathlib import Path
from typing import NamedTuple

from diffexp.errors import DataError
from diffexp.files import open_regular

MOST_BYTES = 256 << 20  # of one picture in its file, which is read at once


class Member(NamedTuple):
    """The bytes from `offset` on, `size` of them, of the file `path`. source, name: for people, of the file
    and of the part.
    """

    path: str
    offset: int
    size: int
    source: str
    name: bytes

    def __str__(self) -> str:
        return f"{self.source}, {self.name.decode(errors='replace')}"

    def open(self) -> io.BytesIO:
        """Return the bytes as a file in memory. Raises DataError where the file has not so many, OSError."""
        with open_regular(Path(self.path)) as file:
            return io.BytesIO(piece(file.fileno(), self.offset, self.size, MOST_BYTES))


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
