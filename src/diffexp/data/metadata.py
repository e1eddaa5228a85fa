"""What is told of the images of a folder: metadata.jsonl or metadata.csv, a row for each image with its
`file_name`, as the image folders of Hugging Face have it; or a .txt with its caption beside each image.
"""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diffexp.errors import DataError

FILES = ("metadata.jsonl", "metadata.csv")
CAPTION = "text"  # the name that Hugging Face gives it
Rows = dict[Path, dict[str, str]]
"""The row of each image, by its path."""


def source(folder: Path) -> Path | None:
    """The file of the rows, if there is one."""
    return next((folder / name for name in FILES if (folder / name).is_file()), None)


def read(folder: Path) -> Rows | None:
    """The rows in their order; None where nothing is told. Raises DataError naming the line."""
    file = source(folder)
    if file is None:
        return None
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError) as error:
        raise DataError(f"this file cannot be read: {error}", str(file), "save it as UTF-8") from error
    found: Rows = {}
    for number, row in _jsonl(file, text) if file.suffix == ".jsonl" else _csv(text):
        if not isinstance(name := row.pop("file_name", None), str) or not name:
            raise DataError("this line has no file_name", f"{file}:{number}", "name the image of each line")
        if (path := folder / name) in found:
            raise DataError(f"{name} is named twice", f"{file}:{number}", "keep one of the lines")
        if not path.resolve().is_relative_to(folder.resolve()):
            raise DataError(f"{name} is outside of the folder", f"{file}:{number}", "name images in it")
        found[path] = {str(k): str(v) for k, v in row.items() if v is not None}
    if not found:
        raise DataError("this file names no image", str(file), "give it a line for each, or remove it")
    return found


def _jsonl(file: Path, text: str) -> list[tuple[int, dict[str, Any]]]:
    rows = []
    for number, line in enumerate(text.split("\n"), 1):  # splitlines would break captions at U+2028
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"this line is no JSON: {error}", f"{file}:{number}", "mend it") from error
        if not isinstance(row, dict):
            raise DataError("this line is no JSON object", f"{file}:{number}", 'as in {"file_name": ...}')
        rows.append((number, row))
    return rows


def _csv(text: str) -> list[tuple[int, dict[str, Any]]]:
    rows = csv.DictReader(io.StringIO(text, newline=""))
    return [(rows.line_num, {k: v for k, v in row.items() if k is not None}) for row in rows]


def column(rows: Rows | None, name: str, files: Sequence[Path], folder: Path, key: str) -> list[str]:
    """What the rows say of each file under a name. Raises DataError; key: where the name was typed."""
    have = sorted({k for row in (rows or {}).values() for k in row})
    if name not in have:
        where = source(folder)
        what = f"{where.name} has no {name}, but {', '.join(have)}" if where else f"no {FILES[0]} says {name}"
        raise DataError(what, key, f"type {key}={have[0]}" if have else f"type {key}=none, or add the file")
    assert rows is not None
    for file in files:
        if not rows.get(file, {}).get(name):
            raise DataError(f"the line of this image has no {name}", str(file), f"add it, or type {key}=none")
    return [rows[file][name] for file in files]


def captions(rows: Rows | None, name: str, files: Sequence[Path], folder: Path) -> list[str] | None:
    """The caption of each file: of the column `name`, or of the .txt beside it; None where there are none.

    Raises DataError for an image without, where others have one, or a column of another name is not there.
    """
    if name != CAPTION or any(name in row for row in (rows or {}).values()):
        return column(rows, name, files, folder, "data.text")
    beside = [file.with_suffix(".txt") for file in files]
    there = [path.is_file() for path in beside]
    if not any(there):
        return None
    if not all(there):
        file = files[there.index(False)]
        what = f"this image has no caption, and {sum(there):,} others have one in a .txt"
        raise DataError(what, str(file), "write one, or type data.text=none")
    try:
        return [path.read_text(encoding="utf-8-sig").strip() for path in beside]
    except (OSError, UnicodeError) as error:
        raise DataError(f"a caption cannot be read: {error}", str(folder), "save it as UTF-8") from error
