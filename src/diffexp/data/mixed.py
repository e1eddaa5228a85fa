"""A split made of others, each repeated until its share is the one that is wanted.

The images of a part lie behind one another: whole cycles of all of them, then some more. So the mixture is a
list, and order, resume, ranks, flips and captions are what they are for any other split.
"""

import hashlib
from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import ceil
from typing import Union

import torch
from torch import Tensor

from diffexp.data.batch import Batch, texts_of
from diffexp.data.captions import Texts
from diffexp.data.memory import InMemory
from diffexp.data.stream import Stream
from diffexp.randomness import keys

Images = Union[InMemory, Stream, "Mixed"]


def repeated(lengths: Mapping[str, int], weights: Mapping[str, float]) -> dict[str, int]:
    """Return how many images each part gives, so that their shares are the weights, rounded up to an image,
    and that none is left out.
    """
    exact = {name: Fraction(str(weights[name])) for name in lengths}  # 0.1 is a tenth, and no binary number
    unit = max(length / exact[name] for name, length in lengths.items())
    return {name: ceil(weight * unit) for name, weight in exact.items()}


class MixedTexts(Texts):
    """The captions of a mixture. parts: those of each part; part, number: int64 (N,), the part of each image
    and its number there.
    """

    def __init__(self, parts: Sequence[Texts], part: Tensor, number: Tensor) -> None:
        self.parts, self.part, self.number = list(parts), part, number
        place = zip(part.tolist(), number.tolist(), strict=True)
        super().__init__([self.parts[k].first[i] for k, i in place])

    def __getitem__(self, i: int) -> tuple[str, ...]:
        return self.parts[int(self.part[i])][int(self.number[i])]

    @property
    def varies(self) -> bool:
        return any(part.varies for part in self.parts)

    def select(self, index: Tensor) -> Texts:
        return MixedTexts(self.parts, self.part[index], self.number[index])

    def every(self) -> list[str]:
        return [text for part in self.parts for text in part.every()]

    def update(self, digest: "hashlib._Hash") -> None:
        for part in self.parts:
            part.update(digest)

    def shown(self, texts: Sequence[str], seed: int, epoch: int, index: Tensor) -> list[str]:
        """Return what the options of each part make of these captions, of the images of these numbers."""
        made, part = list(texts), self.part[index]
        for k, own in enumerate(self.parts):
            rows = (part == k).nonzero().flatten()
            some = own.shown([made[i] for i in rows.tolist()], seed, epoch, index[rows])
            for row, text in zip(rows.tolist(), some, strict=True):
                made[row] = text
        return made


class Mixed:
    """A split of parts by name, of each so many images, at least all that it has. prompts: one caption for
    all images of a part, in place of their own; labelled: whether the classes of the parts are the same.

    Captions and classes are there where all parts have them.
    """

    def __init__(
        self,
        parts: Mapping[str, Images],
        counts: Mapping[str, int],
        prompts: Mapping[str, str] | None = None,
        labelled: bool = False,
    ) -> None:
        self.names = list(parts)
        self.parts, self.counts = list(parts.values()), [counts[name] for name in parts]
        self.starts = torch.tensor([0, *self.counts]).cumsum(0)
        part = torch.repeat_interleave(torch.arange(len(parts)), torch.tensor(self.counts))
        numbers = [_cycles(name, len(images), counts[name]) for name, images in parts.items()]
        self.part, self.number = part, torch.cat(numbers)
        several = [_texts(images, (prompts or {}).get(name)) for name, images in parts.items()]
        some = [texts for texts in several if texts is not None]
        self.captions = MixedTexts(some, part, self.number) if len(some) == len(parts) else None
        labels = [images.labels for images in parts.values()]
        known = [x[n] for x, n in zip(labels, numbers, strict=True) if x is not None]
        self.labels = torch.cat(known) if labelled and len(known) == len(parts) else None

    @property
    def streams(self) -> bool:
        """True where some of its images are decoded when they are asked for."""
        return any(part.streams for part in self.parts)

    def __len__(self) -> int:
        return len(self.part)

    @property
    def texts(self) -> Sequence[str] | None:
        """The first caption of each image, or None."""
        return None if self.captions is None else self.captions.first

    @property
    def random(self) -> bool:
        """True where crops of some parts are drawn."""
        return any(map(is_random, self.parts))

    def batch(self, index: Tensor, places: Tensor | None = None) -> Batch:
        """Return the images of these numbers, int64 (B,); places: of random crops, float64 (B, 2). Raises
        DataError naming a broken file.
        """
        rows, batches, numbers = list[Tensor](), list[Batch](), list[Tensor]()
        for k, part in enumerate(self.parts):
            own = (self.part[index] == k).nonzero().flatten()
            if not len(own):
                continue
            asked = self.number[index[own]]
            drawn = () if places is None or not is_random(part) else (places[own],)
            batches.append(batch := part.batch(asked, *drawn))
            rows.append(own)
            # of a stream another image may have taken the place of a broken one
            numbers.append(torch.where(batch.index == asked, index[own], self.starts[k] + batch.index))
        order = torch.cat(rows).argsort()
        index = torch.cat(numbers)[order]
        label = None if self.labels is None else self.labels[index]
        size, weight = (_joined([getattr(b, name) for b in batches], order) for name in ("size", "weight"))
        image = torch.cat([batch.image for batch in batches])[order]
        return Batch(image, label, texts_of(self.texts, index), index, None, size, weight)

    def fingerprint(self) -> str:
        """Return the sha256 of those of the parts, of what is taken of each, and of the captions."""
        digest = hashlib.sha256()
        for count, part in zip(self.counts, self.parts, strict=True):
            digest.update(f"\n{count} {part.fingerprint()}".encode())
        if self.captions is not None:
            self.captions.update(digest)
        return digest.hexdigest()


def is_random(images: object) -> bool:
    """Return whether training draws which part of each picture of a split it sees."""
    return getattr(images, "random", False)


def _cycles(name: str, length: int, count: int) -> Tensor:
    """Return `count` numbers of `length` images: all of them in turn, and for the rest some that the name of
    the part chooses.
    """
    cycles, rest = divmod(count, length)
    some = keys(0, "mix", name, index=torch.arange(length)).argsort(stable=True)[:rest].sort().values
    return torch.cat([torch.arange(length).repeat(cycles), some])


def _texts(images: Images, prompt: str | None) -> Texts | None:
    return images.captions if prompt is None else Texts([prompt] * len(images))


def _joined(values: Sequence[Tensor | None], order: Tensor) -> Tensor | None:
    known = [value for value in values if value is not None]
    return torch.cat(known)[order] if len(known) == len(values) else None
