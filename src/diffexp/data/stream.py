"""A split too large for memory: images are decoded when their batch is asked for, here or in workers."""

import hashlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffexp.data.batch import Batch, texts_of
from diffexp.data.captions import Texts, texts_or_none
from diffexp.data.fitted import Fitted, Place, fitted
from diffexp.errors import DataError

_log = logging.getLogger(__name__)


class Stream:
    """A split that is decoded as it is asked for. files: one path for each image, or a Member; labels: int64
    (N,) or None; load: it -> uint8 (C, H, W), or Fitted; texts: a caption for each, their `Texts`, or None.
    random: in training `load` is told a `place` that is drawn (fitted.py).

    transform: what `load` does, in words, for the fingerprint. With `skip` a broken image gives its place to
    the next good one of the split: a function of the files alone, so batches keep their size and order.
    """

    streams = True

    def __init__(
        self,
        files: Sequence[Any],
        labels: Tensor | None,
        load: Callable[..., Tensor | Fitted],
        transform: str,
        skip: bool = False,
        texts: Sequence[str] | Texts | None = None,
        random: bool = False,
    ) -> None:
        self.files, self.labels, self.load, self.transform, self.skip = files, labels, load, transform, skip
        self.random = random
        self.captions = texts_or_none(texts)

    def __len__(self) -> int:
        return len(self.files)

    @property
    def texts(self) -> Sequence[str] | None:
        """The first caption of each image, or None."""
        return None if self.captions is None else self.captions.first

    def batch(self, index: Tensor, places: Tensor | None = None) -> Batch:
        """Return the images of these numbers, int64 (B,). places: of their crops, float64 (B, 2), None for
        those of `load`. Raises DataError naming a broken file.
        """
        drawn = [None] * len(index) if places is None else [(v, u) for v, u in places.tolist()]
        pairs = zip(index.tolist(), drawn, strict=True)
        read, numbers = zip(*(self._image(i, place) for i, place in pairs), strict=True)
        index = torch.tensor(numbers)
        labels = None if self.labels is None else self.labels[index]
        sizes = [one.size for one in read if one.size is not None]
        size = torch.stack(sizes) if len(sizes) == len(index) else None
        images = torch.stack([one.image for one in read])
        return Batch(images, labels, texts_of(self.texts, index), index, None, size)

    def _image(self, number: int, place: Place | None) -> tuple[Fitted, int]:
        for i in range(number, number + len(self)):
            try:
                drawn = {} if place is None else {"place": place}
                return fitted(self.load(self.files[i % len(self)], **drawn)), i % len(self)
            except DataError as error:
                self.left_out(error)
        raise self.nothing_left()

    def left_out(self, error: DataError) -> None:
        """Raise the error of a broken image, or with `skip` note it."""
        if not self.skip:
            raise error
        _log.warning("left out, the next one taken: %s (%s)", error.where.strip(), error.what)

    def nothing_left(self) -> DataError:
        """Return the error where none of the images can be decoded."""
        what = "no image of this split can be decoded"
        first = self.files[0]
        where = first.parent if isinstance(first, Path) else first
        return DataError(what, str(where), "look at the files")

    def fingerprint(self) -> str:
        """Hash the files' paths, sizes and times, their labels, captions and the transform: sha256."""
        digest = hashlib.sha256(self.transform.encode())
        for file in self.files:
            try:
                stat = file.stat()
                size_and_time = f"{stat.st_size}\0{stat.st_mtime_ns}"
            except OSError:  # whoever asks for the image gets the error
                size_and_time = "gone"
            digest.update(f"\n{file}\0{size_and_time}".encode(errors="surrogateescape"))
        if self.labels is not None:
            digest.update(self.labels.numpy().data)
        if self.captions is not None:
            self.captions.update(digest)
        return digest.hexdigest()
