"""The columns and rows of a table on the disk, .parquet or .arrow, by pyarrow, which is an extra."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from diffexp.data.record_values import absent
from diffexp.errors import ConfigError, DataError

ROWS = 64  # that are in memory at once
KEYS = ("image", "label", "text")


def schema_of(table: Path) -> Any:
    """Return the names and types of the columns. Raises DataError; ConfigError without pyarrow."""
    pyarrow = _pyarrow()
    try:
        if table.suffix == ".arrow":
            with pyarrow.memory_map(str(table)) as file:
                return pyarrow.ipc.open_stream(file).schema
        return pyarrow.parquet.read_schema(table)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise _failed(table, error) from error


def rows_of(table: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the values of each row in these columns. Raises DataError."""
    pyarrow = _pyarrow()
    try:
        if table.suffix == ".arrow":
            with pyarrow.memory_map(str(table)) as file:
                for batch in pyarrow.ipc.open_stream(file):
                    yield from _values(batch.select(list(columns)))
            return
        with pyarrow.parquet.ParquetFile(table) as file:
            for batch in file.iter_batches(ROWS, columns=list(columns)):
                yield from _values(batch)
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:  # of a value, as no UTF-8
        raise _failed(table, error) from error


def pictures_of(schema: Any) -> list[str]:
    """Return the columns that can hold pictures: bytes, alone or beside a path."""
    return [field.name for field in schema if _is_pictures(field.type)]


def check_columns(table: Path, schema: Any, columns: Sequence[str]) -> None:
    """Raise DataError for a column (image, label, text) that is not there, or twice, or of a wrong type."""
    for key, name in zip(KEYS, columns, strict=True):
        if name == "none":
            continue
        found = [field.type for field in schema if field.name == name]
        if not found:
            raise absent(name, schema.names, f"data.{key}", str(table))
        if len(found) > 1:
            do = f"give one of them another name, or type data.{key}=COLUMN, another one"
            raise DataError(
                f"the column {name[:50]} is there {len(found)} times in {table}", f"data.{key}", do
            )
        kind = f"the column {name[:50]} is {str(found[0])[:80]}"
        if key == "image" and not _is_pictures(found[0]) and not _pyarrow().types.is_null(found[0]):
            do = "type data.image=COLUMN, one of bytes, as datasets.Image writes them"
            raise DataError(f"{kind}, and no pictures, in {table}", "data.image", do)
        if key == "text" and not _is_text(found[0]):
            do = "type data.text=COLUMN, one of text, or data.text=none"
            raise DataError(f"{kind}, and no text, in {table}", "data.text", do)


def class_names(schema: Any, label: str) -> list[str]:
    """Return the names of the classes 0, 1, ..., where `datasets` wrote them into the table; else []."""
    try:
        told = json.loads((schema.metadata or {})[b"huggingface"])
        names = told["info"]["features"][label]["names"]
        return [str(name) for name in names] if isinstance(names, list) else []
    except (KeyError, TypeError, ValueError, RecursionError):
        return []


def _is_pictures(kind: Any) -> bool:
    types = _pyarrow().types
    if types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0
    return types.is_binary(kind) or types.is_large_binary(kind)


def _is_text(kind: Any) -> bool:
    """Return whether it is text, or a list of texts. A column without any value has no type, and its rows are
    told.
    """
    types = _pyarrow().types
    inner = kind.value_type if types.is_list(kind) or types.is_large_list(kind) else kind
    inner = inner.value_type if types.is_dictionary(inner) else inner
    return types.is_string(inner) or types.is_large_string(inner) or types.is_null(inner)


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


def _values(batch: Any) -> Iterator[dict[str, Any]]:
    for start in range(0, batch.num_rows, ROWS):
        yield from batch.slice(start, ROWS).to_pylist()
