"""A split whose images have several sizes, those of their buckets (buckets.py); a batch is of one of them."""

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor

from diffexp.data.buckets import Buckets, Size, Sorted
from diffexp.data.decode import tell_left_out
from diffexp.data.fitted import Fitted, Place
from diffexp.data.images import sides_of
from diffexp.data.stream import Stream
from diffexp.errors import DataError

Load = Callable[[Path, Size, Place | None], Fitted]
"""A file as an image of that size (H, W); Fit is one."""


class Bucketed(Stream):
    """A split in buckets. images: the same in one size; sorted: the bucket of each image; keep: decode all at
    once, into memory; step, fill: of the buckets.

    Where `images` skips a broken image, the next good one of its bucket takes its place, else of the split.
    """

    def __init__(
        self, images: Stream, sorted: Sorted, fit_to: Load, keep: bool, step: int, fill: bool = False
    ) -> None:
        transform = f"{images.transform} in {sorted.sizes}"
        super().__init__(images.files, images.labels, images.load, transform, images.skip, images.captions)
        self.sorted, self.step, self.fill, self._fit_to = sorted, step, fill, fit_to
        self.random = images.random
        self._kept: list[tuple[Fitted, int]] | None = None
        if keep:
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                self._kept = list(pool.map(self._image, range(len(self))))
        self.streams = not keep

    @property
    def bucket(self) -> Tensor:
        """The number of the bucket of each image, int64 (N,)."""
        return self.sorted.bucket

    def _image(self, number: int, place: Place | None = None) -> tuple[Fitted, int]:
        if self._kept is not None:
            return self._kept[number]
        size = self.sorted.sizes[int(self.bucket[number])]
        for i in self._from(number):
            try:
                return self._fit_to(self.files[i], size, place), i
            except DataError as error:
                self.left_out(error)
        raise self.nothing_left()

    def _from(self, number: int) -> chain[int]:
        """Return this number, then those of its bucket, then all others, each from it on, around the end."""
        turn = (number + torch.arange(len(self))) % len(self)
        same = self.bucket[turn] == self.bucket[number]
        return (
            chain([number], turn[same].tolist()[1:], turn[~same].tolist()) if self.skip else chain([number])
        )


class Shapes:
    """The pictures of a folder by their shapes, of which one reads no more than the headers.

    load: a Load; skip: leave out those that cannot be read. base: the size whose area they all have about.
    Raises DataError.
    """

    def __init__(
        self,
        files: list[Path],
        buckets: Buckets,
        base: Size,
        load: Load,
        skip: bool,
        max_pixels: int,
        root: Path,
    ) -> None:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            sides = list(pool.map(sides_of, files))
        good = [i for i, size in enumerate(sides) if size is not None and math.prod(size) <= max_pixels]
        if len(good) < len(files):
            known = set(good)
            bad = [file for i, file in enumerate(files) if i not in known]
            if not skip or not good:
                load(bad[0], base, None)  # it says what is wrong with the file
                raise DataError("the size of this image cannot be read", str(bad[0]), "mend or remove it")
            tell_left_out(bad, len(files), root)
        self.good = torch.tensor(good)
        self.load, self.fill, self.step = load, buckets.fill, buckets.numbers(base)[0]
        self.number = {files[i]: row for row, i in enumerate(good)}
        self.all = buckets.sort(torch.tensor([sides[i] for i in good]), base)

    def split(self, images: Stream, stream: bool | None, most: int) -> Bucketed:
        """Return a split, given in one size, in its buckets. stream: decode each batch anew; None for that
        where the images have more than `most` pixels.
        """
        own = self.all.select(torch.tensor([self.number[file] for file in images.files]))
        pixels = sum(math.prod(size) * n for size, n in zip(own.sizes, own.counts, strict=True))
        keep = pixels <= most if stream is None else not stream
        return Bucketed(images, own, self.load, keep, self.step, self.fill)
