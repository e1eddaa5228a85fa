"""The index of a data set whose pictures are parts of large files: where the bytes of each lie, its name,
class and captions, as columns that are mapped into memory. So any picture is read by its number, in any
order.
"""

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffexp.data.member import Member, OpenFile
from diffexp.errors import DataError

MOST_CLASSES = 65_536
MOST_OPEN = 128  # files at once, of an index and a process; most systems allow 1,024 of all kinds
_BETWEEN = "\0"  # captions of one image; in a caption it is replaced


class Growing:
    """An index that is being made: `add` a picture after the other, then `tensors`."""

    def __init__(self) -> None:
        self.columns = {
            name: array("q") for name in ("file", "offset", "size", "label", "name_end", "text_end")
        }
        self.names, self.texts = bytearray(), bytearray()
        self.classes: dict[str, int] = {}
        self.several = False

    def __len__(self) -> int:
        return len(self.columns["file"])

    def add(
        self, file: int, offset: int, size: int, name: str, label: str | None, texts: Sequence[str]
    ) -> None:
        """Add a picture. file: the number of its source. Raises DataError for too many classes."""
        self.names += name.encode(errors="replace")
        self.texts += _BETWEEN.join(text.replace(_BETWEEN, "\ufffd") for text in texts).encode()
        self.several |= len(texts) > 1
        number = -1 if label is None else self.classes.setdefault(label, len(self.classes))
        if number >= MOST_CLASSES:
            what = f"more than {MOST_CLASSES:,} different classes, as {label[:50] if label else ''!r}"
            raise DataError(what, "data.label", "type the column of the class, or data.label=none")
        row = (file, offset, size, number, len(self.names), len(self.texts))
        for column, value in zip(self.columns.values(), row, strict=True):
            column.append(value)

    def finished(self, order: Sequence[str] = ()) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the columns, and what is known of all: the names of the classes, in `order` as far as they
        are there, else by number or letter, and whether a picture has several captions.
        """
        names = [*order, *sorted(set(self.classes) - set(order), key=_natural)] if self.classes else []
        place = {name: i for i, name in enumerate(names)}
        tensors = {name: _tensor(column) for name, column in self.columns.items()}
        if self.classes:
            tensors["label"] = torch.tensor([place[name] for name in self.classes])[tensors["label"]]
        tensors |= {"names": _tensor(self.names), "texts": _tensor(self.texts)}
        return tensors, {"classes": names, "several": self.several}


def _tensor(column: "array[int] | bytearray") -> Tensor:
    kind = torch.uint8 if isinstance(column, bytearray) else torch.int64
    return torch.frombuffer(column, dtype=kind) if len(column) else torch.zeros(0, dtype=kind)


def _natural(name: str) -> tuple[bool, int, str]:
    number = name.isdecimal() and name.isascii() and len(name) < 19
    return not number, int(name) if number else 0, name


class Records:
    """A finished index. sources: the files as people know them; path of the bytes of each in `held`."""

    def __init__(
        self,
        columns: Mapping[str, Tensor],
        known: Mapping[str, Any],
        sources: Sequence[str],
        pack: str | None,
    ) -> None:
        self.columns, self.sources, self.pack = columns, sources, pack
        self.classes: tuple[str, ...] = tuple(known["classes"])
        self.several = bool(known["several"])
        self.has_texts = len(columns["texts"]) > 0

    def __len__(self) -> int:
        return len(self.columns["file"])

    def member(self, i: int) -> Member:
        """Return where the picture of this number lies."""
        columns = self._columns
        path = self.pack or self.sources[columns["file"][i]]
        described = partial(self._described, i)
        return Member(partial(self._opened, path), columns["offset"][i], columns["size"][i], described)

    def _described(self, i: int) -> str:
        return f"{self.sources[self._columns['file'][i]]}, {self._bytes('name', i).decode(errors='replace')}"

    def texts(self, i: int) -> list[str]:
        """Return the captions of the picture of this number, as they were written."""
        return self._bytes("text", i).decode(errors="replace").split(_BETWEEN)

    @cached_property
    def _columns(self) -> dict[str, memoryview]:
        """The columns, for torch takes microseconds for each number."""
        return {name: column.numpy().data for name, column in self.columns.items()}

    @cached_property
    def _opened(self) -> Callable[[str], OpenFile]:
        """Opens a file, or gives it where it is open: opening takes longer than reading a small picture."""
        return lru_cache(MOST_OPEN)(_open)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_columns", "_opened")}

    def _bytes(self, kind: str, i: int) -> bytes:
        ends = self._columns[f"{kind}_end"]
        return self._columns[f"{kind}s"][ends[i - 1] if i else 0 : ends[i]].tobytes()

    def check(self, sizes: Sequence[int]) -> bool:
        """Return whether every picture lies in its file, of these sizes: an index may be damaged."""
        c, of_file = self.columns, torch.tensor(sizes)
        count, labels = len(self), len(self.classes)
        if {len(c[name]) for name in ("offset", "size", "label", "name_end", "text_end")} != {count}:
            return False
        if not count or int(c["file"].min()) < 0 or int(c["file"].max()) >= len(self.sources):
            return False
        ends = of_file[c["file"] if self.pack is None else torch.zeros_like(c["file"])]
        inside = (c["offset"] >= 0) & (c["size"] >= 0) & (c["size"] <= ends - c["offset"])
        named = (c["label"] >= -1) & (c["label"] < max(labels, 0))
        return bool(inside.all() and named.all()) and all(self._rising(kind) for kind in ("name", "text"))

    def _rising(self, kind: str) -> bool:
        ends = self.columns[f"{kind}_end"]
        return bool((ends.diff() >= 0).all() and ends[0] >= 0) and int(ends[-1]) == len(
            self.columns[f"{kind}s"]
        )


def _open(path: str) -> OpenFile:
    return OpenFile(Path(path))


class Members(Sequence[Member]):
    """The pictures of a split. numbers: int64 (N,), which of the records they are."""

    def __init__(self, records: Records, numbers: "Tensor | Others") -> None:
        self.records, self.numbers, self._count = records, numbers, len(numbers)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, i: Any) -> Any:
        return self.records.member(number_of(self.numbers, i))


class Others:
    """The numbers 0..count-1 without some, ascending, in the memory of those. without: int64, ascending."""

    def __init__(self, count: int, without: Tensor) -> None:
        self.count = count - len(without)
        self._before = without - torch.arange(len(without))

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, place: Tensor) -> Tensor:
        """Return the numbers at these places, int64."""
        return place + torch.searchsorted(self._before, place, right=True)

    def __iter__(self) -> Iterator[int]:
        return iter(self[torch.arange(self.count)].tolist())


def number_of(numbers: "Tensor | Others", i: int) -> int:
    """Return the number at one place, which counts from the end where it is negative."""
    if isinstance(numbers, Tensor):
        return int(numbers.numpy()[i])  # raises IndexError, which ends an iteration
    return int(numbers[torch.tensor(range(len(numbers))[i])])
