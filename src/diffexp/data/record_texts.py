"""Captions that stay in the index, and are read when they are asked for."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from diffexp.data.captions import Captions, Texts
from diffexp.data.records import Others, Records, number_of


class Lazy(Sequence[str]):
    """Texts that a function gives by their number."""

    def __init__(self, count: int, text: Callable[[int], str]) -> None:
        self._count, self._text = count, text

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, i: Any) -> Any:
        at = range(self._count)[i]
        return self._text(at) if isinstance(at, int) else [self._text(k) for k in at]


class RecordTexts(Texts):
    """The captions of a split of records. numbers: int64 (N,), which of them these are."""

    def __init__(self, records: Records, numbers: Tensor | Others, options: Captions) -> None:
        self.records, self.numbers, self.options = records, numbers, options
        self.others = {}
        self.given = Lazy(len(numbers), self._given)  # methods, which a process that is spawned can be sent
        self.first = Lazy(len(numbers), self._first)
        options.read([""])  # where ftfy is not installed it is said now

    def _given(self, i: int) -> str:
        return self[i][0]

    def _first(self, i: int) -> str:
        return self.options.whole(self[i][0])

    def __getitem__(self, i: int) -> tuple[str, ...]:
        return self.options.read(self.records.texts(number_of(self.numbers, i)))

    @property
    def varies(self) -> bool:
        return self.records.several or self.options.lines or self.options.tagged

    def select(self, index: Tensor) -> Texts:
        return RecordTexts(self.records, self.numbers[index], self.options)

    def every(self) -> Sequence[str]:
        if not self.records.several and not self.options.lines:
            return self.first
        return [self.options.whole(text) for i in range(len(self)) for text in self[i]]

    def update(self, digest: "hashlib._Hash") -> None:
        for i in range(len(self)):
            digest.update("".join(f"\n{self.options.whole(text)}" for text in self[i]).encode())
