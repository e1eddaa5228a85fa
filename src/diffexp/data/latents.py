"""The latents of a split on the disk: made once, mapped into memory, by one writer at a time.

`rows.bin` holds a row for each image: the number of the image in its split (that of its neighbour, where a
broken one was left out), then the mean and the deviation of its latents. `rows.index` has a line for each
block: how many rows there are with it, and its checksum. A block is on the disk before its line is, so what a
killed run leaves is whole as far as its lines say, and the next run goes on from there.
"""

import hashlib
import json
import os
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffexp.data.batch import Batch, texts_of
from diffexp.data.dataset import Images
from diffexp.data.loader import fetch
from diffexp.errors import DataError, ResourceError
from diffexp.files import flush, make_folder, open_regular, open_to_append, read_small, write
from diffexp.locks import Busy, locked
from diffexp.notice import say, warn
from diffexp.progress import counting

FORMAT, BLOCK = 1, 256
ROWS, INDEX, ABOUT = "rows.bin", "rows.index", "about.json"
_LINE = struct.Struct("<QI")  # rows so far, checksum of the block

Encode = Callable[[Tensor], Tensor]
"""uint8 images (B, C, H, W) to moments (B, 2 L, h, w), float32."""


class Rows:
    """The moments of `count` images, each of `shape`, (2 L, h, w), in a folder of this name."""

    def __init__(self, folder: Path, count: int, shape: tuple[int, int, int]) -> None:
        self.folder, self.count, self.shape = folder, count, shape
        self.kind = np.dtype([("number", "<i8"), ("moments", "<f4", shape)])
        self._map: Any = None

    def sound(self) -> int:
        """Return how many rows are there as they were written, of whole blocks."""
        try:
            with open_regular(self.folder / INDEX) as lines, open_regular(self.folder / ROWS) as rows:
                content, done = lines.read(), 0
                for end, checksum in _LINE.iter_unpack(content[: len(content) // _LINE.size * _LINE.size]):
                    here = end == min(done + BLOCK, self.count) and done < self.count
                    if not here or zlib.crc32(rows.read((end - done) * self.kind.itemsize)) != checksum:
                        warn(f"made again from image {done:,} on, for it is damaged: {self.folder / ROWS}")
                        break
                    done = end
                return done
        except FileNotFoundError:
            return 0

    def append(self, blocks: Iterator[tuple[Tensor, Tensor]], done: int) -> None:
        """Write blocks of (numbers, moments) behind the first `done` rows. Raises OSError, DataError."""
        ended = done
        with open_to_append(self.folder / ROWS) as rows, open_to_append(self.folder / INDEX) as lines:
            rows.truncate(done * self.kind.itemsize)
            lines.truncate(-(-done // BLOCK) * _LINE.size)
            for numbers, moments in blocks:
                part = np.empty(len(numbers), self.kind)
                part["number"], part["moments"] = numbers.numpy(), moments.numpy()
                ended += len(part)
                rows.write(content := part.tobytes())
                flush(rows)
                lines.write(_LINE.pack(ended, zlib.crc32(content)))
                lines.flush()

    def _rows(self) -> Any:
        if self._map is None:
            with open_regular(self.folder / ROWS) as file:
                self._map = np.memmap(file, self.kind, "r", shape=(self.count,))
        return self._map

    def __getitem__(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return the numbers of the images, int64 (B,), and their moments, (B, 2 L, h, w)."""
        part = self._rows()[index.numpy()]
        return torch.from_numpy(part["number"].copy()), torch.from_numpy(part["moments"].copy())

    def all(self) -> Iterator[Tensor]:
        """Yield the moments of all images in turn."""
        for index in torch.arange(self.count).split(BLOCK):
            yield self[index][1]


class Latents:
    """A split whose latents lie ready: its batches have them, and no images (B, 0, 0, 0). mirrored: those of
    the mirrored images, for a training that mirrors.
    """

    streams = False

    def __init__(self, images: Images, rows: Rows, mirrored: Rows | None = None) -> None:
        self.images, self.rows, self.mirrored = images, rows, mirrored
        self.captions, self.labels = images.captions, images.labels

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, index: Tensor) -> Batch:
        """Return what is known of the images of these numbers, int64 (B,)."""
        numbers, moments = self.rows[index]
        label = None if self.labels is None else self.labels[numbers]
        image = torch.empty(len(index), 0, 0, 0, dtype=torch.uint8)
        return Batch(image, label, texts_of(self.images.texts, numbers), numbers, moments)

    def flipped(self, batch: Batch, mirrored: Tensor) -> Batch:
        """Return a batch with the latents of the mirror images where `mirrored`, bool (B,), holds."""
        assert self.mirrored is not None and batch.latent is not None
        _, moments = self.mirrored[batch.index]
        return batch._replace(latent=torch.where(mirrored[:, None, None, None], moments, batch.latent))


def kept(
    images: Images,
    shape: tuple[int, int, int],
    encode: Encode,
    folder: Path,
    about: Mapping[str, Any],
    mirror: bool = False,
    workers: int = 0,
) -> Rows:
    """Return the moments, of `shape`, of all images of a split, or of their mirror images: from the folder,
    as far as they are there, or made and written. about: all that decides them.

    Raises ResourceError where they cannot be written, DataError.
    """
    told = json.dumps({"format": FORMAT, **about, "shape": shape, "mirror": mirror})
    own = Rows(folder / hashlib.sha256(told.encode()).hexdigest()[:32], len(images), shape)
    what = f"the {about['split']} images of {about['data']}{', mirrored' if mirror else ''}"
    try:
        _check(own.folder / ABOUT, told)
        if own.sound() == own.count:
            return own
        make_folder(own.folder)
        write(own.folder / ABOUT, told)
        lock = own.folder / ".lock"
        try:
            with locked(lock):
                _fill(own, images, encode, what, mirror, workers)
        except Busy as busy:
            warn(f"waiting for another process, which encodes {what}: {busy}")
            with locked(lock, wait=True):
                _fill(own, images, encode, what, mirror, workers)
    except OSError as error:
        do = "type codec.cache=false, codec.folder=FOLDER for another place, or free some disk"
        raise ResourceError(
            f"the latents cannot be kept: {error.strerror or error}", str(own.folder), do
        ) from error
    return own


def _check(file: Path, told: str) -> None:
    """Raise DataError where a folder says that its latents are of something else."""
    try:
        same = read_small(file, 1 << 16) == told.encode()
    except FileNotFoundError:
        return
    if not same:
        what = "the latents in this folder are of other images, or of another autoencoder"
        raise DataError(what, str(file.parent), "remove the folder: it is made again")


def _fill(rows: Rows, images: Images, encode: Encode, what: str, mirror: bool, workers: int) -> None:
    done = rows.sound()
    if done == rows.count:
        return
    needed = (rows.count - done) * rows.kind.itemsize
    free = shutil.disk_usage(rows.folder).free
    if needed > free:
        raise OSError(f"they have {needed >> 20:,} MB, and {free >> 20:,} MB are free")
    from_there = f" from image {done:,} on" if done else ""
    say(f"encoding {what}{from_there}: {needed / 1e6:,.1f} MB in {rows.folder}")
    with counting(f"encoding {what}") as progress:
        rows.append(_encoded(rows.count, images, encode, mirror, workers, done, progress), done)
    if rows.sound() != rows.count:
        do = "look at the disk, or type codec.cache=false"
        raise DataError("the latents that were written are not there", str(rows.folder), do)


def _encoded(
    count: int,
    images: Images,
    encode: Encode,
    mirror: bool,
    workers: int,
    done: int,
    progress: Callable[[int, int], None],
) -> Iterator[tuple[Tensor, Tensor]]:
    order = torch.arange(done, count).split(BLOCK)
    for batch in fetch(images, list(order), workers):
        yield batch.index, encode(batch.image.flip(-1) if mirror else batch.image).cpu()
        done += len(batch.index)
        progress(done, count)


def bytes_of(count: int, shape: tuple[int, int, int]) -> int:
    """Return the bytes that `kept` writes for so many images."""
    return count * Rows(Path(os.devnull), count, shape).kind.itemsize
