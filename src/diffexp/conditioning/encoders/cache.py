"""Rows of numbers on the disk, by a hash: written once, mapped into memory, by one writer at a time.

`rows.bin` holds the numbers of one after another; `rows.index` says of each its hash, where it begins, how
many tokens it has and its checksum. The numbers are on the disk before their line is, so a run that was
killed leaves nothing wrong, and the next one goes on.
"""

import mmap
import os
import struct
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from diffexp.errors import DiffexpError
from diffexp.files import flush, make_folder, open_regular, open_to_append
from diffexp.locks import locked
from diffexp.notice import warn

_LINE = struct.Struct("<32sQII")  # hash, first byte, rows, checksum


class Cache:
    """The rows of one kind, float (n, dim) of `dtype`, in a folder, made when something is kept. most: bytes,
    after which nothing more is written. A folder that cannot be written to is said, and costs time.
    """

    def __init__(self, folder: Path, dim: int, dtype: torch.dtype, most: float) -> None:
        self.folder, self.dim, self.dtype, self.most = folder, dim, dtype, most
        self._width = dim * torch.empty(0, dtype=dtype).element_size()
        self._known, self._read, self._right = dict[bytes, tuple[int, int, int]](), 0, set[bytes]()
        self._map: mmap.mmap | None = None

    def __deepcopy__(self, memo: object) -> "Cache":
        return self

    def get(self, key: bytes) -> Tensor | None:
        """Return the rows of a hash, None where they are not there, or not as they were written."""
        if key not in self._known:
            self._refresh()
        if key not in self._known or self._map is None:
            return None
        first, n, checksum = self._known[key]
        content = bytearray(self._map[first : first + n * self._width])
        if key not in self._right:
            if len(content) != n * self._width or zlib.crc32(content) != checksum:
                del self._known[key]
                return None
            self._right.add(key)
        return torch.frombuffer(content, dtype=self.dtype).view(n, self.dim)

    def keep(self, rows: Mapping[bytes, Tensor]) -> None:
        """Write rows that are not there."""
        try:
            make_folder(self.folder)
            with locked(self.folder / ".lock", wait=True):
                self._refresh()
                self._append({key: value for key, value in rows.items() if key not in self._known})
        except (OSError, DiffexpError) as error:
            warn(f"encoded captions are not kept in {self.folder}: {str(error).splitlines()[0]}")

    def _append(self, rows: Mapping[bytes, Tensor]) -> None:
        lines = list[bytes]()
        with open_to_append(self.folder / "rows.bin") as file:
            first = file.seek(0, os.SEEK_END)
            for key, value in rows.items():
                content = value.to(self.dtype).contiguous().view(torch.uint8).numpy().tobytes()
                if first + len(content) > self.most:
                    warn(f"encoded captions are no longer kept: {self.folder} has {first:,} bytes")
                    break
                file.write(content)
                lines.append(_LINE.pack(key, first, len(value), zlib.crc32(content)))
                first += len(content)
            flush(file)
        with open_to_append(self.folder / "rows.index") as file:
            whole = file.seek(0, os.SEEK_END) // _LINE.size * _LINE.size
            file.truncate(whole)  # the power may have failed in the middle of a line
            file.write(b"".join(lines))
            flush(file)

    def _refresh(self) -> None:
        """Read the lines that came since the last time."""
        with suppress(OSError, DiffexpError), open_regular(self.folder / "rows.index") as file:
            file.seek(self._read)
            content = file.read()
            whole = len(content) // _LINE.size * _LINE.size
            for key, first, n, checksum in _LINE.iter_unpack(content[:whole]):
                self._known[key] = first, n, checksum
                self._right.discard(key)
            self._read += whole
            if whole:
                with open_regular(self.folder / "rows.bin") as rows:
                    self._map = mmap.mmap(rows.fileno(), 0, access=mmap.ACCESS_READ)
