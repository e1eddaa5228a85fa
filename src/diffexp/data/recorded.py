"""A data set whose pictures are parts of large files, read by their numbers in an index (records.py)."""

import hashlib
import math
from abc import abstractmethod
from collections.abc import Callable
from functools import cached_property, partial
from typing import Literal

import torch
from torch import Tensor

from diffexp.data.captions import AS_WRITTEN, Captions
from diffexp.data.dataset import DataSet, Images, Splits, check_shares, held_out
from diffexp.data.decode import decoded
from diffexp.data.fitted import Fit, Fitted, check_stream
from diffexp.data.images import Mode, is_grey, sides
from diffexp.data.order import MOST
from diffexp.data.permutation import permuted
from diffexp.data.record_texts import RecordTexts
from diffexp.data.records import Members, Others, Records
from diffexp.data.regular import typed_path
from diffexp.data.stream import Stream
from diffexp.errors import ConfigError
from diffexp.notice import chosen, warn

IN_MEMORY = 2 << 30  # bytes of decoded images that stream=auto keeps in memory
LOOKED_AT = 100  # pictures by which mode=auto chooses
Broken = Literal["error", "skip"]
Crop = Literal["centre", "random"]


class RecordStream(Stream):
    """A split of records. told: what they are of, for the fingerprint; the others as those of Stream."""

    def __init__(
        self,
        members: Members,
        labels: Tensor | None,
        load: Callable[..., Fitted],
        told: str,
        skip: bool,
        texts: RecordTexts | None,
        random: bool,
    ) -> None:
        super().__init__(members, labels, load, told, skip, texts, random)

    def fingerprint(self) -> str:
        """Return the sha256 of what the records are of: paths, sizes and times of the files, and options."""
        return hashlib.sha256(self.transform.encode()).hexdigest()


class Recorded(DataSet):
    """The common part of Shards and Parquet: splits, sizes and colours as those of Folder.

    Raises ConfigError, and DataError when read.
    """

    def __init__(
        self,
        path: str,
        size: int | tuple[int, int],
        mode: Mode | Literal["auto"],
        val: float,
        test: float,
        stream: bool | Literal["auto"],
        broken: Broken,
        max_pixels: int,
        caption: Captions,
        crop: Crop,
    ) -> None:
        check_shares(val, test)
        self.size = sides(size)
        self.path, self.mode = typed_path(path, "data.path"), mode
        self.val, self.test, self.stream, self.broken = val, test, stream, broken
        if crop not in ("centre", "random"):
            raise ConfigError(f"crop={crop}", "data.crop", "type data.crop=centre or data.crop=random")
        check_stream(crop, stream)
        self.max_pixels, self.caption, self.crop = max_pixels, caption, crop
        height, width = self.size
        self._size = f"{height}x{width}" if height != width else f"{height}"
        self.name = f"{self.path.resolve().name}-{self._size}"

    @abstractmethod
    def index(self) -> tuple[Records, str]:
        """Return the index, and a digest of what it is of. Raises DataError, ResourceError."""

    @cached_property
    def _indexed(self) -> tuple[Records, str]:
        return self.index()

    @property
    def records(self) -> Records:
        """The index."""
        return self._indexed[0]

    @property
    def shape(self) -> tuple[int, int, int]:
        return 3 if self.colours == "RGB" else 1, *self.size

    @cached_property
    def colours(self) -> Mode:
        """The mode of the images: L, of one channel, or RGB."""
        if self.mode in ("RGB", "L"):
            return self.mode
        first = range(min(LOOKED_AT, len(self.records)))
        grey = all(is_grey(self.records.member(i)) is not False for i in first)
        which = "grey, as the first ones are (data.mode=L)" if grey else "colour (data.mode=RGB)"
        chosen(f"images in {which}")
        return "L" if grey else "RGB"

    @property
    def tells_size(self) -> bool:
        return True

    @property
    def draws_crops(self) -> bool:
        return self.crop == "random"

    @cached_property
    def _load(self) -> Callable[..., Fitted]:
        return partial(Fit(self.colours, self.max_pixels), size=self.size)

    @property
    def classes(self) -> tuple[str, ...] | None:
        return self.records.classes or None

    def read(self) -> Splits:
        count = len(self.records)
        if not self.records.has_texts and self.caption != AS_WRITTEN:
            warn(f"data.caption does nothing, for the pictures of {self.path} have no captions")
        if count < 3:
            chosen("the same images for training, validation and test, for there are fewer than three")
            whole = self._part(torch.arange(count), "all")
            return Splits(whole, whole, whole)
        train, val, test = _split(count, *(max(1, round(share * count)) for share in (self.val, self.test)))
        return Splits(self._part(train, "train"), self._part(val, "val"), self._part(test, "test"))

    def everything(self) -> Images:
        """Return all images in the order of the index, whatever their split."""
        return self._part(torch.arange(len(self.records)), "all")

    def _part(self, numbers: Tensor | Others, name: str) -> Images:
        records, digest = self._indexed
        place = numbers if isinstance(numbers, Tensor) else numbers[torch.arange(len(numbers))]
        labels = records.columns["label"][place] if records.classes else None
        texts = RecordTexts(records, numbers, self.caption) if records.has_texts else None
        members, skip = Members(records, numbers), self.broken == "skip"
        small = len(records) * math.prod(self.shape) <= IN_MEMORY and not self.draws_crops
        if self.stream is False or (self.stream == "auto" and small):
            return decoded(members, self._load, self.shape, labels, texts, skip, self.path)
        what = f"{self._size} {self.colours} bicubic {self.crop}"
        told = f"{what}\n{digest}\n{name} {self.val} {self.test}\n{self.caption}"
        return RecordStream(members, labels, self._load, told, skip, texts, self.draws_crops)


def _split(count: int, val: int, test: int) -> tuple[Tensor | Others, Tensor, Tensor]:
    """Return the numbers of the records of each split, ascending: a function of how many there are. Above
    MOST, of the splits that are held out alone is something in memory.
    """
    if count <= MOST:
        train, *others = held_out("records", count, val, test)
        return train, others[0], others[1]
    out = permuted(0, "split", "records", count=count, place=torch.arange(val + test))
    return Others(count, out.sort().values), out[:val].sort().values, out[val:].sort().values
