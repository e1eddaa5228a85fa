"""The samples of all jobs of a sweep, small enough for one page."""

import base64
import io
import warnings
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image

from diffexp.escape import markup
from diffexp.report.labels import named
from diffexp.report.same_noise import side_by_side
from diffexp.report.table import Snapshot, metrics_of, pivot, places


def pictures(sweep: Snapshot, budget: int) -> str:
    """Show each job's samples, from the same seeds, in the rows and columns of the table."""
    names, buttons = places(sweep.plan, sweep.cells), dict[tuple[str, str], str]()
    for (cell, row), place in zip(sweep.cells, names, strict=True):
        path = None if row is None or place in buttons else _picture(sweep.folder, cell, row)
        if path is not None and (shown := _thumbnail(path, budget)):
            name = markup(" ".join(f"{k}={v}" for k, v in cell["values"].items()) or cell["id"])
            buttons[place] = (
                f"<button class=look><img loading=lazy alt='samples of {name}' title='{name}' "
                f"src='{shown}'></button>"
            )
    if not buttons:
        return ""
    columns = list(dict.fromkeys(column for _, column in names))
    lines = ["<h3>Samples</h3><div class=scroll><table class=pictures><thead><tr><th></th>"]
    lines += [f"<th scope=col>{markup(c)}</th>" for c in columns]
    lines.append("</tr></thead><tbody>")
    for r in dict.fromkeys(row for row, _ in names):
        shown = "".join(f"<td>{buttons.get((r, c), '')}</td>" for c in columns)
        lines.append(f"<tr><th scope=row>{markup(r)}</th>{shown}</tr>")
    return "".join([*lines, "</tbody></table></div>"])


def from_same_noise(sweep: Snapshot) -> str:
    """Show the best cell of the first number, or the first, beside those in its row and column, then others:
    images from the same noise.
    """
    names, found = places(sweep.plan, sweep.cells), dict[tuple[str, str], tuple[str, Path]]()
    keys = [key for key in sweep.plan["varying"] if key != "seed"]
    for (cell, row), place in zip(sweep.cells, names, strict=True):
        path = None if row is None or place in found else _picture(sweep.folder, cell, row)
        if path is not None:
            found[place] = (named({key: cell["values"][key] for key in keys}), path)
    if len(found) < 2:
        return ""
    measured = metrics_of(sweep)
    p = pivot(sweep, measured[0]) if measured else None
    best = [place for place, stat in p.stats.items() if stat.mean == p.best] if p else []
    base = next((place for place in [*best, *found] if place in found), next(iter(found)))
    others = sorted(found, key=lambda at: at[0] != base[0] and at[1] != base[1])  # stable
    return side_by_side([found[at] for at in dict.fromkeys([base, *others])])


def picture_of(folder: Path, results: Mapping[str, Any]) -> Path | None:
    """Return the picture of a run in its folder, which may have been moved; None for none."""
    name = str(results.get("picture") or "").replace("\\", "/").rpartition("/")[2]
    return _picture(folder, {"folder": "."}, {"results": {"picture": f"samples/{name}"}}) if name else None


def _picture(folder: Path, cell: Mapping[str, Any], row: Mapping[str, Any]) -> Path | None:
    """Return the picture of a job, if it lies in this job's folder: a row, or a link, may name any other."""
    try:
        home = folder.resolve() / cell["folder"]
        path = (home / ((row.get("results") or {}).get("picture") or "-")).resolve()
        return path if path.is_relative_to(home) and path.is_file() else None
    except (OSError, ValueError, RuntimeError):  # no name of a file, or links in a circle
        return None


def _thumbnail(path: Path, budget: int) -> str | None:
    return _encoded(path, path.stat().st_mtime_ns, budget)


@lru_cache(maxsize=4096)
def _encoded(path: Path, written: int, budget: int) -> str | None:
    """Encode a picture as a data URI of at most `budget` bytes; where there is little room, the upper part
    alone. None for what is no picture that we write, or has too many pixels.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=("PNG",)) as image:
                picture = image.convert("RGB")
    except Exception:  # of Pillow's readers: its kinds have no common type
        return None
    if budget < 40_000 and picture.height > picture.width * 0.6:
        picture = picture.crop((0, 0, picture.width, int(picture.width * 0.6)))
    picture.thumbnail((900, 900))
    while True:
        out = io.BytesIO()
        picture.save(out, "JPEG", quality=70, optimize=True)
        if out.tell() * 4 / 3 <= budget or min(picture.size) < 64:
            return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()
        picture = picture.resize((max(1, picture.width * 4 // 5), max(1, picture.height * 4 // 5)))
