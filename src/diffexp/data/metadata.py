"""The labels and captions of the images of a folder: metadata.jsonl or metadata.csv, a row for each image
with its `file_name`, as the image folders of Hugging Face have it; or a .txt with its caption beside each
image. In metadata.jsonl the caption may be a list of several.
"""

import csv
import io
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from diffexp.data.regular import Links, check_link, text
from diffexp.errors import DataError

FILES = ("metadata.jsonl", "metadata.csv")
CAPTION = "text"  # the name that Hugging Face gives it
FILE_BYTES = 1 << 30
LINE_LETTERS = CAPTION_BYTES = 1 << 20
Words = dict[str, str | list[str]]
Rows = dict[Path, Words]
"""The row of each image, by its path: its values as text, and lists of texts as they are."""


def source(folder: Path) -> Path | None:
    """Return the file of the rows, if there is one."""
    return next((folder / name for name in FILES if os.path.lexists(folder / name)), None)


def read(folder: Path, links: Links = "refuse") -> Rows | None:
    """Read the rows in their order; None without such a file. Raises DataError naming the line."""
    file = source(folder)
    if file is None:
        return None
    check_link(file, folder, links)
    content = text(file, FILE_BYTES)
    rows: Rows = {}
    for number, row in (_jsonl if file.suffix == ".jsonl" else _csv)(file, content):
        name = row.pop("file_name", None)
        if not isinstance(name, str) or not name:
            raise DataError("this line has no file_name", f"{file}:{number}", "name the image of each line")
        path = _named(name, folder)
        if path is None:
            what = f"{name[:200]} is outside of the folder"
            raise DataError(what, f"{file}:{number}", "name images in it")
        if path in rows:
            raise DataError(f"{name[:200]} is named twice", f"{file}:{number}", "keep one of the lines")
        rows[path] = _words(row, f"{file}:{number}")
    if not rows:
        raise DataError("this file names no image", str(file), "give it a line for each, or remove it")
    return rows


def _named(name: str, folder: Path) -> Path | None:
    """Return the path of an image, None outside of the folder; by the name alone: no file is looked at."""
    root = os.path.normpath(folder)
    path = Path(os.path.normpath(folder / name.replace("\0", "\ufffd")))  # Python 3.11.3 would cut it at \0
    if not path.is_relative_to(root) or ".." in path.relative_to(root).parts:
        return None
    return folder / path.relative_to(root)


def _words(row: dict[str, Any], where: str) -> Words:
    """Return the values as text, lists of texts as they are. Raises DataError for what is none."""
    try:
        words: Words = {k: v if _texts(v) else str(v) for k, v in row.items() if v is not None}
        for part in (words.keys(), *(v if isinstance(v, list) else [v] for v in words.values())):
            "".join(part).encode()
    except (ValueError, RecursionError) as error:  # numbers of 5,000 digits, half a pair of surrogates
        raise DataError(f"this line holds what is no text: {error}", where, "mend it") from error
    return words


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(part, str) for part in value)


def _jsonl(file: Path, content: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(_lines(file, content), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"this line is no JSON: {error}", f"{file}:{number}", "mend it") from error
        if not isinstance(row, dict):
            raise DataError("this line is no JSON object", f"{file}:{number}", 'as in {"file_name": ...}')
        yield number, row


def _csv(file: Path, content: str) -> Iterator[tuple[int, dict[str, Any]]]:
    rows = csv.DictReader(_lines(file, content))
    try:
        for row in rows:
            yield rows.line_num, {k: v for k, v in row.items() if k is not None}
    except csv.Error as error:
        where = f"{file}:{rows.line_num}"
        raise DataError(f"this line is no CSV: {error}", where, "close its quotes") from error


def _lines(file: Path, content: str) -> Iterator[str]:
    """Yield lines, which end at a line feed alone: splitlines would break captions at U+0085, U+2028."""
    for number, line in enumerate(io.StringIO(content, newline="\n"), 1):
        if len(line) > LINE_LETTERS:
            what = f"this line has more than {LINE_LETTERS:,} letters"
            raise DataError(what, f"{file}:{number}", "make it shorter")
        yield line


def column(rows: Rows | None, name: str, files: Sequence[Path], folder: Path, key: str) -> list[list[str]]:
    """Return the values of a column for the files, one or several for each. key: where the name
    was typed. Raises DataError.
    """
    have = sorted({k for row in (rows or {}).values() for k in row})
    some = ", ".join(k[:50] for k in have[:20])
    if name not in have:
        where = source(folder)
        what = f"{where.name} has no {name}, but {some}" if where else f"no {FILES[0]} says {name}"
        raise DataError(
            what, key, f"type {key}={have[0][:50]}" if have else f"type {key}=none, or add the file"
        )
    assert rows is not None
    for file in files:
        if not rows.get(file, {}).get(name):
            raise DataError(f"the line of this image has no {name}", str(file), f"add it, or type {key}=none")
    return [_several(rows[file][name]) for file in files]


def _several(value: str | list[str]) -> list[str]:
    return value if isinstance(value, list) else [value]


def labels(rows: Rows | None, name: str, files: Sequence[Path], folder: Path) -> list[str]:
    """Return the class of each file, of the column `name`. Raises DataError as `column` does."""
    column(rows, name, files, folder, "data.label")
    return [str((rows or {})[file][name]) for file in files]


def captions(
    rows: Rows | None, name: str, files: Sequence[Path], folder: Path, links: Links
) -> list[list[str]] | None:
    """Return the captions of each file, one or several: of the column `name`, or of the .txt beside it; None
    where there are none.

    Raises DataError for an image without, where others have one, or a column of another name is not there.
    """
    if name != CAPTION or any(name in row for row in (rows or {}).values()):
        several = column(rows, name, files, folder, "data.text")
        for file, texts in zip(files, several, strict=True):
            if not any(texts):
                what = f"the line of this image has no {name}"
                raise DataError(what, str(file), "add it, or type data.text=none")
        return several
    beside = [file.with_suffix(".txt") for file in files]
    there = [path.is_file() for path in beside]
    if not any(there):
        return None
    if not all(there):
        file = files[there.index(False)]
        what = f"this image has no caption, and {sum(there):,} others have one in a .txt"
        raise DataError(what, str(file), "write one, or type data.text=none")
    for path in beside:
        check_link(path, folder, links)
    return [[text(path, CAPTION_BYTES).strip(" \t\n")] for path in beside]
