"""Tables with a column of pictures: parquet files, as the hub of Hugging Face has data sets, and the .arrow
files of `save_to_disk`.

Of a parquet file a row is read by decoding all rows of its group. So the pictures are copied once, as they
are, into one file of the cache, from which any is read by its number; `datasets` makes such a copy as well.
"""

import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from diffexp.data.captions import AS_WRITTEN, Captions
from diffexp.data.images import Mode
from diffexp.data.record_index import About, Progress, indexed
from diffexp.data.record_values import LABELS, TEXTS, absent, first_of, label_of, texts_of_record
from diffexp.data.recorded import Broken, Crop, Recorded
from diffexp.data.records import Growing, Records
from diffexp.data.regular import Links
from diffexp.data.shard_files import find_files
from diffexp.data.shards import CACHE
from diffexp.errors import ConfigError, DataError
from diffexp.files import create
from diffexp.notice import chosen

IMAGES = ("image", "img", "jpg", "png", "picture", "images")
ROWS = 64  # that are in memory at once


class Parquet(Recorded):
    """The rows of the tables below `path`, a folder or one file, whose names match `files`; in the order of
    their names and rows, which is that of the index.

    image, label, text: the columns; "auto" takes one of a usual name, "none" is for no classes, no captions.
    cache: the folder of the index, and of a copy of the pictures. The others as those of Folder.
    Raises ConfigError, and when read DataError, or ConfigError where pyarrow is not installed.
    """

    def __init__(
        self,
        path: str,
        size: int | tuple[int, int],
        files: str = "*.parquet",
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
    def tables(self) -> list[Path]:
        """The files, in the order of their names. Raises DataError where there is none."""
        return find_files(self.path, self.files, self.links, "tables")

    def index(self) -> tuple[Records, str]:
        schema = _schema(self.tables[0])
        image, label, text = columns = self._columns(schema)
        options: dict[str, str] = dict(zip(("image", "label", "text"), columns, strict=True))
        names = _class_names(schema, label)

        def fill(growing: Growing, pack: Path | None, progress: Progress) -> Sequence[str]:
            assert pack is not None
            wanted = [name for name in columns if name != "none"]
            with create(pack) as copy:
                for number, table in enumerate(self.tables):
                    for row, values in enumerate(_rows(table, wanted)):
                        where = f"{table}, row {row}"
                        content = _bytes(values[image], image, where)
                        of_class = None if label == "none" else _named(label_of(values, label, where), names)
                        texts = [] if text == "none" else texts_of_record(values, text, where)
                        growing.add(number, copy.tell(), len(content), f"row {row}", of_class, texts)
                        copy.write(content)
                    progress(number + 1, len(self.tables))
            return names

        return indexed(About("parquet", self.path, self.tables, options, packed=True), self.cache, fill)

    def _columns(self, schema: Any) -> tuple[str, str, str]:
        """Return the columns of picture, class and captions. Raises DataError for one that is not there, or
        of another type.
        """
        there, kept = list(schema.names), []
        usual = {"image": IMAGES, "label": LABELS, "text": TEXTS}
        typed = {"image": self.image, "label": self.label, "text": self.text}
        for key, name in typed.items():
            auto = first_of(usual[key], there)
            if name == "auto":
                chosen(f"data.{key}={auto}, of the columns {', '.join(there[:20])}")
                name = auto
            if name not in there and (name != "none" or key == "image"):
                raise absent(key if name == "none" else name, there, f"data.{key}", str(self.tables[0]))
            kept.append(name)
        _check_types(schema, *kept[::2])
        return kept[0], kept[1], kept[2]


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        what = "pyarrow, which reads these tables, is not installed"
        raise ConfigError(what, "data=parquet", "pip install 'diffexp[parquet]'") from error
    return pyarrow


def _failed(table: Path, error: Exception) -> DataError:
    why = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return DataError(f"this table cannot be read: {why[:200]}", str(table), "fetch or make it again")


def _schema(table: Path) -> Any:
    pyarrow = _pyarrow()
    try:
        if table.suffix == ".arrow":
            with pyarrow.memory_map(str(table)) as file:
                return pyarrow.ipc.open_stream(file).schema
        return pyarrow.parquet.read_schema(table)
    except (pyarrow.ArrowException, OSError) as error:
        raise _failed(table, error) from error


def _rows(table: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the values of each row. Raises DataError."""
    pyarrow = _pyarrow()
    there = _schema(table).names
    for name in columns:
        if name not in there:
            raise absent(name, there, "data.image", str(table))
    try:
        if table.suffix == ".arrow":
            with pyarrow.memory_map(str(table)) as file:
                for batch in pyarrow.ipc.open_stream(file):
                    yield from _values(batch.select(list(columns)))
            return
        with pyarrow.parquet.ParquetFile(table) as file:
            for batch in file.iter_batches(ROWS, columns=list(columns)):
                yield from _values(batch)
    except (pyarrow.ArrowException, OSError) as error:
        raise _failed(table, error) from error


def _values(batch: Any) -> Iterator[dict[str, Any]]:
    for start in range(0, batch.num_rows, ROWS):
        yield from batch.slice(start, ROWS).to_pylist()


def _check_types(schema: Any, image: str, text: str) -> None:
    types = _pyarrow().types
    kind = schema.field(image).type
    whole = types.is_binary(kind) or types.is_large_binary(kind)
    if not whole and not (types.is_struct(kind) and kind.get_field_index("bytes") >= 0):
        do = "type data.image=COLUMN, one of bytes, as datasets.Image writes them"
        raise DataError(f"the column {image[:50]} is {str(kind)[:80]}, and no pictures", "data.image", do)
    if text == "none":
        return
    kind = schema.field(text).type
    inner = kind.value_type if types.is_list(kind) or types.is_large_list(kind) else kind
    if not (types.is_string(inner) or types.is_large_string(inner)):
        do = "type data.text=COLUMN, one of text, or data.text=none"
        raise DataError(f"the column {text[:50]} is {str(kind)[:80]}, and no text", "data.text", do)


def _bytes(value: Any, image: str, where: str) -> bytes:
    content = value.get("bytes") if isinstance(value, dict) else value
    if isinstance(content, bytes):
        return content
    path = value.get("path") if isinstance(value, dict) else None
    what = f"{image} holds the path {str(path)[:100]} and no bytes" if path else f"{image} is empty"
    do = "write the table with its pictures: Dataset.to_parquet does, and save_to_disk"
    raise DataError(what, where, do)


def _class_names(schema: Any, label: str) -> list[str]:
    """Return the names of the classes 0, 1, ..., where `datasets` wrote them into the table; else []."""
    try:
        told = json.loads((schema.metadata or {})[b"huggingface"])
        names = told["info"]["features"][label]["names"]
        return [str(name) for name in names] if isinstance(names, list) else []
    except (KeyError, TypeError, ValueError, RecursionError):
        return []


def _named(label: str, names: Sequence[str]) -> str:
    number = int(label) if label.isdecimal() and label.isascii() and len(label) < 9 else len(names)
    return names[number] if number < len(names) else label
