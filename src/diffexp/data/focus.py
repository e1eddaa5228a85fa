"""Which part of each picture is kept, as a column of the metadata says it."""

import re
from collections.abc import Sequence
from pathlib import Path

from diffexp.config.suggest import nearest
from diffexp.data import metadata
from diffexp.data.fitted import Place
from diffexp.errors import DataError


def focus_points(
    rows: metadata.Rows | None, name: str, files: Sequence[Path], folder: Path
) -> dict[Path, Place]:
    """Return the point (x, y) of each file that has one in the column `name`, shares of width and height.

    Raises DataError for a column that is not there, and for what is no point.
    """
    have = sorted({key for row in (rows or {}).values() for key in row})
    if name not in have:
        source, near = metadata.source(folder), nearest(name, ["centre", "random", *have])
        where = source.name if source else "this folder, without a metadata.jsonl,"
        what = f"{name[:60]} is neither centre nor random, and {where} has no such column"
        raise DataError(what, "data.crop", f"type data.crop={near or 'centre'}")
    points = dict[Path, Place]()
    for file in files:
        written = (rows or {})[file].get(name)
        if written is not None:
            points[file] = _point(str(written), name, file)
    return points


def _point(written: str, name: str, file: Path) -> Place:
    parts = re.split(r"[\s,]+", written.strip("[]() "))
    try:
        x, y = map(float, parts)
    except ValueError:
        x = y = float("nan")
    if not (0 <= x <= 1 and 0 <= y <= 1):
        do = f'give x and y from 0 to 1, as in "{name}": [0.5, 0.25], from left and from above'
        raise DataError(f"{name}={written[:60]} is no point of a picture", str(file), do)
    return x, y
