"""Tar shards, as WebDataset writes them: a sample is a picture, with its caption and class beside it."""

import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import IO, Any, Literal

from diffexp.data.captions import AS_WRITTEN, Captions
from diffexp.data.images import SUFFIXES, Mode
from diffexp.data.member import piece
from diffexp.data.metadata import CAPTION_BYTES
from diffexp.data.record_index import About, Progress, indexed
from diffexp.data.record_values import LABELS, TEXTS, absent, first_of, label_of, texts_of_record
from diffexp.data.recorded import Broken, Crop, Recorded
from diffexp.data.records import Growing, Records
from diffexp.data.regular import Links
from diffexp.data.shard_files import find_files
from diffexp.data.tar_members import Sample, first_sample, samples
from diffexp.errors import DataError
from diffexp.files import open_regular
from diffexp.notice import chosen, warn

CACHE = "~/.cache/diffexp/index"


class Shards(Recorded):
    """The pictures in the tar files below `path`, a folder or one file, whose names match `files`; in the
    order of their names and places, which is that of the index.

    image: "auto" takes the first member of a sample that is a picture; else the one with this end (jpg,
    left.png). label, text: the member with this end or the key of the .json; "auto" for cls or label, and
    for txt, text or caption, as the first sample has it; "none" for none. label="folder" takes the first
    folder in the name of the member. cache: the folder of the index.
    The others as those of Folder. Raises ConfigError, and DataError when read.
    """

    def __init__(
        self,
        path: str,
        size: int | tuple[int, int],
        files: str = "*.tar",
        mode: Mode | Literal["auto"] = "RGB",
        image: str = "auto",
        label: str = "auto",
        text: str = "auto",
        val: float = 0.05,
        test: float = 0.05,
        stream: bool | Literal["auto"] = "auto",
        broken: Broken = "error",
        max_pixels: int = 80_000_000,
        links: Links = "refuse",
        cache: str = CACHE,
        caption: Captions = AS_WRITTEN,
        crop: Crop = "centre",
    ) -> None:
        super().__init__(path, size, mode, val, test, stream, broken, max_pixels, caption, crop)
        self.files, self.image, self.label, self.text = files, image, label, text
        self.links: Links = links
        self.cache = cache

    @cached_property
    def shards(self) -> list[Path]:
        """The shards, in the order of their names. Raises DataError where there is none."""
        return find_files(self.path, self.files, self.links, "shards")

    def index(self) -> tuple[Records, str]:
        label, text = self._columns()
        options = {
            "files": self.files,
            "image": self.image,
            "label": label,
            "text": text,
            "broken": self.broken,
        }
        about = About("shards", self.path, self.shards, options)

        def fill(growing: Growing, pack: Path | None, progress: Progress) -> Sequence[str]:
            for number, shard in enumerate(self.shards):
                self._scan(number, shard, label, text, growing)
                progress(number + 1, len(self.shards))
            return ()

        return indexed(about, self.cache, fill)

    def _columns(self) -> tuple[str, str]:
        """Return the columns of the class and of the captions, as the first sample has them."""
        if "auto" not in (self.label, self.text):
            return self.label, self.text
        first, there = None, list[str]()
        for shard in self.shards:
            if (first := first_sample(shard)) is not None:
                with open_regular(shard) as file:
                    there = list(_values(first, shard, file, "json"))
                break
        found = first_of(LABELS, there), first_of(TEXTS, there)
        kept = []
        for typed, auto, key in zip((self.label, self.text), found, ("label", "text"), strict=True):
            if typed == "auto":
                chosen(f"data.{key}={auto}, as the first sample has it")
            kept.append(auto if typed == "auto" else typed)
        return kept[0], kept[1]

    def _scan(self, number: int, shard: Path, label: str, text: str, growing: Growing) -> None:
        """Add the pictures of a shard. Raises DataError, where nothing is to be skipped."""
        without = 0
        with open_regular(shard) as file:
            for sample in self._whole(shard, file):
                place = self._place(sample)
                where, names = f"{shard}, {sample.key}", (label, text)
                if place is None and self.image != "auto" and self.broken == "error":
                    raise absent(self.image, sorted(sample.parts), "data.image", where)
                if place is None:
                    without += 1
                    continue
                values = {} if {*names} <= {"none", "folder"} else _values(sample, shard, file, *names)
                of_class = _folder(sample, where) if label == "folder" else None
                if label not in ("folder", "none"):
                    of_class = label_of(values, label, where)
                texts = [] if text == "none" else texts_of_record(values, text, where)
                growing.add(number, *place, sample.key, of_class, texts)
        if without:
            warn(f"left out: {without:,} samples without a picture in {shard}")

    def _whole(self, shard: Path, file: IO[bytes]) -> Iterator[Sample]:
        try:
            yield from samples(shard, file)
        except DataError as error:
            if self.broken != "skip":
                raise
            warn(f"{error.what}: what is whole is taken (data.broken=skip): {shard}")

    def _place(self, sample: Sample) -> tuple[int, int] | None:
        """Return offset and size of the picture of a sample."""
        if self.image != "auto":
            return sample.parts.get(self.image.lower().removeprefix("."))
        return next((place for end, place in sample.parts.items() if f".{end}" in SUFFIXES), None)


def _values(sample: Sample, shard: Path, file: IO[bytes], *wanted: str) -> dict[str, Any]:
    """Return the values of a sample by their columns. Members that are not wanted are there by their names
    alone. Raises DataError.
    """
    where, values = f"{shard}, {sample.key}", dict[str, Any]()
    for end, (offset, size) in sample.parts.items():
        if f".{end}" in SUFFIXES or end == "json":
            continue
        values[end] = _text(file, offset, size, f"{where}.{end}") if end in wanted else ""
    if "json" in sample.parts and not (set(wanted) - {"none", "folder"}) <= set(values):
        content = _text(file, *sample.parts["json"], f"{where}.json")
        try:
            row = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise DataError(f"this is no JSON: {error}", f"{where}.json", "mend it") from error
        if not isinstance(row, dict):
            raise DataError("this is no JSON object", f"{where}.json", 'as in {"text": ...}')
        values = row | values
    return values


def _folder(sample: Sample, where: str) -> str:
    first, inside, _ = sample.key.removeprefix("./").partition("/")
    if not inside:
        raise DataError(
            "this sample lies in no folder, which would be its class", where, "type data.label=none"
        )
    return first


def _text(file: IO[bytes], offset: int, size: int, where: str) -> str:
    try:
        content = piece(file.fileno(), offset, size, CAPTION_BYTES).decode("utf-8-sig")
        content.encode()
    except (DataError, UnicodeError) as error:
        what = error.what if isinstance(error, DataError) else "it is no UTF-8"
        raise DataError(f"this text cannot be read: {what}", where, "mend the shard") from error
    return content.replace("\r\n", "\n").strip(" \t\r\n")
