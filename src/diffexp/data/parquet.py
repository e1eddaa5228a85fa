"""Tables with a column of pictures: parquet files, as the hub of Hugging Face has data sets, and the .arrow
files of `save_to_disk`.

Of a parquet file a row is read by decoding all rows of its group. So the pictures are copied once, as they
are, into one file of the cache, from which any is read by its number; `datasets` makes such a copy as well.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import IO, Any, Literal

from diffexp.data.captions import AS_WRITTEN, Captions
from diffexp.data.images import Mode
from diffexp.data.record_index import About, Progress, indexed
from diffexp.data.record_values import LABELS, TEXTS, first_of, label_of, texts_of_record
from diffexp.data.recorded import Broken, Crop, Recorded
from diffexp.data.records import Growing, Records
from diffexp.data.regular import Links
from diffexp.data.shard_files import find_files
from diffexp.data.shards import CACHE
from diffexp.data.tables import KEYS, check_columns, class_names, pictures_of, rows_of, schema_of
from diffexp.errors import DataError
from diffexp.files import create
from diffexp.notice import chosen

IMAGES = ("image", "img", "jpg", "png", "picture", "images")


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
        schema = schema_of(self.tables[0])
        columns = self._columns(schema)
        options: dict[str, str] = dict(zip(KEYS, columns, strict=True))
        names = class_names(schema, columns[1])

        def fill(growing: Growing, pack: Path | None, progress: Progress) -> Sequence[str]:
            assert pack is not None
            for table in self.tables[1:]:
                check_columns(table, schema_of(table), columns)
            with create(pack) as copy:
                for number, table in enumerate(self.tables):
                    self._copy(number, table, columns, names, growing, copy)
                    progress(number + 1, len(self.tables))
            return names

        return indexed(About("parquet", self.path, self.tables, options, packed=True), self.cache, fill)

    def _copy(
        self,
        number: int,
        table: Path,
        columns: Sequence[str],
        names: Sequence[str],
        growing: Growing,
        copy: IO[bytes],
    ) -> None:
        """Add the rows of a table. Raises DataError, where nothing is to be skipped."""
        image, label, text = columns
        for row, values in enumerate(rows_of(table, [name for name in columns if name != "none"])):
            where = f"{table}, row {row}"
            content = _bytes(values[image])
            if content is None and self.broken != "skip":
                raise _no_bytes(values[image], image, where)
            content = content or b""  # a row without a picture is left out as one that cannot be decoded
            of_class = (
                None if label == "none" else _named(label_of(values, label, where), names, label, where)
            )
            texts = [] if text == "none" else texts_of_record(values, text, where)
            growing.add(number, copy.tell(), len(content), f"row {row}", of_class, texts)
            copy.write(content)

    def _columns(self, schema: Any) -> tuple[str, str, str]:
        """Return the columns of picture, class and captions. Raises DataError for one that is not there, or
        of another type.
        """
        there, kept = list(schema.names), []
        usual = {"image": IMAGES, "label": LABELS, "text": TEXTS}
        typed = {"image": self.image, "label": self.label, "text": self.text}
        for key, name in typed.items():
            if name == "auto":
                name = first_of(usual[key], there)
                if name != "none" or key != "image":
                    chosen(f"data.{key}={name}, of the columns {', '.join(there[:20])}")
            kept.append(name)
        if kept[0] == "none":
            raise _no_pictures(schema, self.tables[0])
        check_columns(self.tables[0], schema, kept)
        return kept[0], kept[1], kept[2]


def _bytes(value: Any) -> bytes | None:
    content = value.get("bytes") if isinstance(value, dict) else value
    return content if isinstance(content, bytes) else None


def _no_bytes(value: Any, image: str, where: str) -> DataError:
    path = value.get("path") if isinstance(value, dict) else None
    if not path:
        do = "give the row its picture, or type data.broken=skip to leave it out"
        return DataError(f"{image} is empty", where, do)
    do = "write the table with its pictures: Dataset.to_parquet does, and save_to_disk"
    return DataError(f"{image} holds the path {str(path)[:100]} and no bytes", where, do)


def _no_pictures(schema: Any, table: Path) -> DataError:
    """Return the error for a table without a column of pictures that has a usual name."""
    some, could = ", ".join(name[:50] for name in schema.names[:20]) or "nothing", pictures_of(schema)
    what = f"which column of {table} has the pictures? There is {some}"
    if could:
        return DataError(what, "data.image", f"type data.image={could[0]}")
    do = "give a table with a column of bytes, as datasets.Image writes them"
    return DataError(f"no column of {table} has pictures, but there is {some}", "data.image", do)


def _named(label: str, names: Sequence[str], column: str, where: str) -> str:
    """Return the name of a class, where the table names them. Raises DataError for one that it does not."""
    number = int(label) if label.isdecimal() and label.isascii() and len(label) < 9 else len(names)
    if number < len(names):
        return names[number]
    if names and label not in names:
        what = f"{column} is {label[:50]}, and the table has the classes 0 to {len(names) - 1}"
        raise DataError(what, where, "give the row one of them, or type data.label=none")
    return label
