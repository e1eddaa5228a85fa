"""A data set: three fixed splits of images, the same for every seed of an experiment.

Building one reads nothing; `check` or the first `split` does. Which images are in which split depends on the
data set alone, by permutations that are functions of its name.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from diffexp.data.batch import Batch
from diffexp.data.bucketed import Bucketed
from diffexp.data.loader import fetch
from diffexp.data.mixed import Images
from diffexp.data.order import in_turn
from diffexp.errors import ConfigError, DataError
from diffexp.notice import warn
from diffexp.randomness import keys

SplitName = Literal["train", "val", "test"]


class Splits(NamedTuple):
    """The three parts of a data set; no image is in two of them."""

    train: Images
    val: Images
    test: Images


def held_out(name: str, count: int, *parts: int) -> list[Tensor]:
    """Return the numbers 0..count-1 as [rest, part, part, ...], each ascending, permuted by `name`."""
    order = keys(0, "split", name, index=torch.arange(count)).argsort(stable=True)
    pieces = order.split([*parts, count - sum(parts)])
    return [piece.sort().values for piece in (pieces[-1], *pieces[:-1])]


def check_shares(val: float, test: float) -> None:
    """Raise ConfigError where so much for validation and test leaves nothing, or is nothing."""
    if not (0 < val < 1 and 0 < test < 1 and val + test < 1):
        what = f"val={val} and test={test} are no shares"
        raise ConfigError(what, "data.val", "type two whose sum is < 1")


def all_equal(images: Images) -> bool:
    """Return whether there are several images, and the first thousand of them are one and the same."""
    if len(images) < 2:
        return False
    first, *some = torch.arange(min(len(images), 1000)).split(1)
    image = images.batch(first).image
    return all(torch.equal(image, images.batch(other).image) for other in some)


class DataSet(ABC):
    """A data set. name: for reports; shape: (C, H, W) of every image; classes: their names, or None."""

    name: str

    @property
    def tells_size(self) -> bool:
        """True where its batches say of which part of which picture an image is."""
        return False

    @property
    def draws_crops(self) -> bool:
        """True where training sees another part of a picture in each epoch."""
        return False

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int, int]: ...

    @property
    @abstractmethod
    def classes(self) -> tuple[str, ...] | None: ...

    @abstractmethod
    def read(self) -> Splits:
        """Read all splits. Raises DataError where a file is missing or damaged."""

    @cached_property
    def _splits(self) -> Splits:
        return self.read()

    @cached_property
    def _fingerprints(self) -> dict[str, str]:
        return {}

    def split(self, name: SplitName) -> Images:
        """Return the images of a split, read once. Raises DataError."""
        return getattr(self._splits, name)

    def bucketed(self, split: SplitName) -> Bucketed | None:
        """Return the images of a split in the sizes in which training takes them, where those are several."""
        return None

    def check(self) -> None:
        """See to it that the files are here and readable, and download them if the set is public.

        Raises DataError saying which file is missing or damaged, and the expected layout.
        """
        for name, part in zip(Splits._fields, self._splits, strict=True):
            if len(part) == 0:
                raise DataError(f"the {name} split of {self.name} is empty", do="give more images")
        if equal := [
            name for name, part in zip(Splits._fields, self._splits, strict=True) if all_equal(part)
        ]:
            warn(f"all images of {self.name} ({', '.join(equal)}) are one and the same")

    def counts(self, split: SplitName) -> dict[str, int]:
        """Return the number of images of each class; empty without classes."""
        labels = self.split(split).labels
        if labels is None or self.classes is None:
            return {}
        return dict(zip(self.classes, labels.bincount(minlength=len(self.classes)).tolist(), strict=True))

    def original_sides(self) -> Counter[tuple[int, int]]:
        """Count the (H, W) of the pictures before they were scaled: of all files of a folder; else that of
        the training images, which were not.
        """
        return Counter({self.shape[1:]: len(self.split("train"))})

    def fingerprint(self, split: SplitName) -> str:
        """Return a sha256 that changes when an image, a label or the transform does: a key for caches."""
        if split not in self._fingerprints:
            self._fingerprints[split] = self.split(split).fingerprint()
        return self._fingerprints[split]

    def batches(self, split: SplitName, size: int, workers: int = 0) -> Iterator[Batch]:
        """Yield all images of a split, in order, `size` at a time; workers decode where the set streams."""
        images = self.split(split)
        return fetch(images, list(in_turn(len(images), size)), workers)
