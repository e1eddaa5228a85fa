"""A data set of any tree of image files; images.py decodes and scales each."""

import logging
import math
import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from diffexp.data import metadata
from diffexp.data.bucketed import Bucketed, Shapes
from diffexp.data.buckets import Buckets
from diffexp.data.captions import AS_WRITTEN, GIVE, Captions, Texts
from diffexp.data.dataset import DataSet, Images, SplitName, Splits, check_shares, held_out
from diffexp.data.decode import decoded, is_readable
from diffexp.data.fitted import Fit, Fitted, check_stream
from diffexp.data.focus import focus_points
from diffexp.data.groups import grouped
from diffexp.data.image_files import image_files
from diffexp.data.images import Mode, is_grey, sides, sides_of
from diffexp.data.regular import Links, typed_path
from diffexp.data.stream import Stream
from diffexp.errors import DataError
from diffexp.notice import chosen, warn

IN_MEMORY = 2 << 30  # bytes of decoded images that stream=auto keeps in memory
_log = logging.getLogger(__name__)


class Folder(DataSet):
    """The images below `path`, at `size` x `size` pixels, or those of size=(H, W), in mode RGB or L; of
    auto L where all files are grey.

    Where there is a metadata.jsonl or metadata.csv the images are those that it names (metadata.py).
    label: "folder" takes the first-level sub-folders as classes if there are at least two and every image is
    in one; "none" has no classes; "auto" the column `label` or the sub-folders where these are of all images,
    else none; else the column of the metadata that says the class. text: the column that is the caption (or a
    .txt beside each image has it), if it is there; "none" for no captions; "auto" where all images have one.
    val, test: the share of each split, by a fixed permutation of the files in the order of their names, at
    least one image; of fewer than 3 images all are in every split.
    stream: decode each batch anew (true) or everything once into memory (false); auto streams above 2 GiB.
    broken: "error" stops at an image that cannot be decoded, "skip" leaves it out and says so.
    max_pixels: larger pictures count as broken, for a small file may unpack to gigabytes.
    links: "refuse" stops at a file that is a link out of the folder, and leaves out links to folders;
    "follow" reads both, as a folder made of links needs it. Links to files inside are always read.
    caption: what is done to the captions, where one image may have several (captions.py).
    crop: what is kept of a picture of another shape: "centre"; "random", in training another part in each
    epoch; or a column of the metadata whose point [x, y], shares of width and height, is to be in the middle.
    buckets: training and its validation take images of several sizes (buckets.py), all else those of `size`.
    Raises ConfigError, and DataError when read.
    """

    def __init__(
        self,
        path: str,
        size: int | tuple[int, int],
        mode: Mode | Literal["auto"] = "RGB",
        label: str = "folder",
        text: str = metadata.CAPTION,
        val: float = 0.05,
        test: float = 0.05,
        stream: bool | Literal["auto"] = "auto",
        broken: Literal["error", "skip"] = "error",
        max_pixels: int = 80_000_000,
        links: Links = "refuse",
        caption: Captions = AS_WRITTEN,
        buckets: Buckets | None = None,
        crop: str = "centre",
    ) -> None:
        check_shares(val, test)
        self.height, self.width = sides(size)
        self.path, self.mode = typed_path(path, "data.path"), mode
        self.label, self.text = label, text
        self.links: Links = links
        self.val, self.test, self.stream, self.broken = val, test, stream, broken
        # one number where one is enough: it is in the keys of caches
        self._size = f"{self.height}x{self.width}" if self.height != self.width else f"{self.height}"
        self.name = f"{self.path.resolve().name}-{self._size}"
        self.max_pixels, self.caption, self.buckets, self.crop = max_pixels, caption, buckets, crop
        check_stream(crop, stream)
        if buckets is not None:
            buckets.numbers((self.height, self.width))

    @property
    def tells_size(self) -> bool:
        return True

    @property
    def draws_crops(self) -> bool:
        return self.crop == "random"

    @property
    def shape(self) -> tuple[int, int, int]:
        return 3 if self.colours == "RGB" else 1, self.height, self.width

    @cached_property
    def colours(self) -> Mode:
        """The mode of the images: L, of one channel, or RGB."""
        if self.mode in ("RGB", "L"):
            return self.mode
        grey = all(is_grey(file) is not False for file in self.files)  # all but the first that has colours
        chosen(
            "images in grey, as all files are (data.mode=L)" if grey else "images in colour (data.mode=RGB)"
        )
        return "L" if grey else "RGB"

    @cached_property
    def _fit(self) -> Fit:
        column = self.crop not in ("centre", "random")
        points = focus_points(self._rows, self.crop, self.files, self.path) if column else None
        return Fit(self.colours, self.max_pixels, points)

    @cached_property
    def _fit_one(self) -> Callable[..., Fitted]:
        return partial(self._fit, size=(self.height, self.width))

    @cached_property
    def _shapes(self) -> Shapes | None:
        if self.buckets is None:
            return None
        base, skip = (self.height, self.width), self.broken == "skip"
        return Shapes(self.files, self.buckets, base, self._fit, skip, self.max_pixels, self.path)

    @cached_property
    def _bucketed(self) -> dict[SplitName, Bucketed]:
        return {}

    def bucketed(self, split: SplitName) -> Bucketed | None:
        images = self.split(split)
        if self._shapes is None or not isinstance(images, Stream):
            return None
        if split not in self._bucketed:
            stream = self.stream if isinstance(self.stream, bool) else self.draws_crops or None
            self._bucketed[split] = self._shapes.split(images, stream, IN_MEMORY // self.shape[0])
        return self._bucketed[split]

    @property
    def classes(self) -> tuple[str, ...] | None:
        return tuple(self._number) or None

    @cached_property
    def _rows(self) -> metadata.Rows | None:
        return metadata.read(self.path, self.links)

    @cached_property
    def files(self) -> list[Path]:
        """All images of the folder, in the order of their names. Raises DataError where there is none."""
        return image_files(self.path, self._rows, self.links)

    @cached_property
    def captions(self) -> Texts | None:
        """The captions of all files, if they have some. Raises DataError for one without, ConfigError where
        ftfy is to clean them and not installed.
        """
        several = self._written() if self.text != "none" else None
        if several is None and self.caption != AS_WRITTEN:
            warn(f"data.caption does nothing, for the pictures of {self.path} have no captions: {GIVE}")
        return None if several is None else Texts.of(several, self.caption)

    @property
    def texts(self) -> Sequence[str] | None:
        """The first caption of each file, if they have some. Raises as `captions`."""
        return None if self.captions is None else self.captions.first

    def _written(self) -> list[list[str]] | None:
        if self.text != "auto":
            return metadata.captions(self._rows, self.text, self.files, self.path, self.links)
        try:
            several = metadata.captions(self._rows, metadata.CAPTION, self.files, self.path, self.links)
        except DataError as error:
            chosen(f"no captions (data.text=none): {error.what}, as {error.where} shows")
            return None
        if several is not None:
            chosen("captions of all images are there: conditioning=text tells the network")
        return several

    @cached_property
    def _groups(self) -> list[str]:
        return grouped(self.label, self._rows, self.files, self.path, self.links)

    @cached_property
    def _number(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(sorted(set(self._groups)))}

    def read(self) -> Splits:
        splits = self._split(torch.arange(len(self.files)) if self._shapes is None else self._shapes.good)
        if self.broken == "skip" and not all(map(len, splits)):  # broken images were all that one had
            good = [i for i, file in enumerate(self.files) if is_readable(file, self._fit_one)]
            return self._split(torch.tensor(good, dtype=torch.int64))
        return splits

    def _split(self, numbers: Tensor) -> Splits:
        """Return the splits of the files with these numbers, int64 (N,)."""
        count = len(numbers)
        if count < 3:
            chosen("the same images for training, validation and test, for there are fewer than three")
            whole = self._part(numbers)
            return Splits(whole, whole, whole)
        val, test = (max(1, round(share * count)) for share in (self.val, self.test))
        return Splits(*(self._part(numbers[index]) for index in held_out("folder", count, val, test)))

    def original_sides(self) -> Counter[tuple[int, int]]:
        """Count the (H, W) of the pictures as they are shown, by their headers, without those that cannot be
        read.
        """
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return Counter(sides for sides in pool.map(sides_of, self.files) if sides)

    def everything(self) -> Images:
        """Return all images in the order of their names, whatever their split."""
        return self._part(torch.arange(len(self.files)))

    def _part(self, index: Tensor) -> Images:
        files = [self.files[i] for i in index.tolist()]
        labels = (
            torch.tensor([self._number[self._groups[i]] for i in index.tolist()]) if self._groups else None
        )
        captions = None if self.captions is None else self.captions.select(index)
        skip = self.broken == "skip"
        many = self._bytes > IN_MEMORY or self.draws_crops
        streams = self.stream is True or (self.stream == "auto" and many)
        if streams or self.buckets is not None:  # in buckets it is the other images that are kept
            transform = f"{self._size} {self.colours} bicubic {self.crop}"
            return Stream(files, labels, self._fit_one, transform, skip, captions, self.draws_crops)
        return decoded(files, self._fit_one, self.shape, labels, captions, skip, self.path)

    @property
    def _bytes(self) -> int:
        return len(self.files) * math.prod(self.shape)
