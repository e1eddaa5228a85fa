"""The table of task=protocols: in Markdown, on a page, and for the screen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diffexp.comparison import Difference, Evidence, of_evaluations
from diffexp.comparison.difference import Number
from diffexp.escape import line, markdown_cell
from diffexp.metrics.fid import FID
from diffexp.metrics.inception_resize import Resize
from diffexp.metrics.rounding import Rounding
from diffexp.report.page import document, table

COLUMNS = ("protocol", "FID", "moved by", "95 % interval", "floor")


@dataclass(frozen=True)
class Protocol:
    """The choices that make an FID; name: what differs from the default."""

    name: str
    reference: str
    rounding: Rounding
    resize: Resize
    labels: str


@dataclass(frozen=True)
class Row:
    """The FID of one protocol. moved: the difference to the default, None for the default itself."""

    of: Protocol
    key: str
    value: float
    n: int
    card: Mapping[str, Any]
    moved: Difference | None

    def plain(self) -> dict[str, Any]:
        """Return it as plain values, for a program."""
        d = self.moved
        half = None if d is None else d.half()
        interval = None if d is None or half is None else [d.value - half, d.value + half]
        more = {"moved": d and d.value, "standard_error": d and d.error, "interval": interval}
        return {**vars(self.of), "metric": self.key, "fid": self.value, **more, "floor": self.card["floor"]}


def compared(ways: Sequence[tuple[Protocol, FID]], n: int) -> list[Row]:
    """Return a row for each protocol, the first being the default. Each has seen all images."""
    rows, base = list[Row](), None
    for of, fid in ways:
        ((key, value),) = fid.compute().items()
        card = fid.card()
        error = card.pop("standard_errors", {}).get(key)
        parts = [np.asarray(values) for values in fid.evidence().values()]
        kept = Evidence({"fid/without": parts[0]}, {"noise": 0, "asked": "", "n": n}) if parts else None
        number = Number("fid", value, n, error, kept)  # the noise is the same in all, whatever is asked for
        base = base or number
        moved = None if number is base else of_evaluations(number, base)
        card |= {"standard_error": error} if error is not None else {}
        rows.append(Row(of, key, value, n, {**card, **vars(of)}, moved))
    return rows


def cells(row: Row) -> list[str]:
    """Return the texts of a row, in the order of COLUMNS."""
    error, d = row.card.get("standard_error"), row.moved
    value = f"{row.value:.4g}" + (f" ± {error:.2g}" if error else "")
    half = None if d is None else d.half()
    moved = "" if d is None else f"{d.value:+.3g}" + (f" ± {d.error:.2g}" if d.error is not None else "")
    interval = "" if d is None or half is None else f"{d.value - half:+.3g} to {d.value + half:+.3g}"
    floor = f"{row.card['floor']:.3g} (N = {row.card['floor_n']:,})"
    return [row.of.name, value, moved, interval, floor]


def about(rows: Sequence[Row], data: str, sampler: str, guidance: str) -> dict[str, str]:
    """Return what the page says of all rows."""
    first = rows[0].of
    default = [f"reference {first.reference}", f"rounding {first.rounding}"]
    default += [f"resize {first.resize}"] if "inception" in rows[0].key else []
    return {
        "images": f"N = {rows[0].n:,} of {data}, by {sampler}, {guidance}",
        "number": rows[0].key,
        "default": ", ".join([*default, f"labels {first.labels}"]),
        "moved by": "the same images under another protocol, less the default: ± its standard error, paired",
        "interval": "by Student's t, of each alone; the reference is taken as given",
        "floor": "the FID of real images to the reference",
    }


def markdown(rows: Sequence[Row], told: Mapping[str, str]) -> str:
    """Return the table in Markdown, and what it is of."""
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    lines += [f"| {' | '.join(map(markdown_cell, cells(row)))} |" for row in rows]
    return "\n".join([*lines, "", *(f"- {key}: {line(value)}" for key, value in told.items())]) + "\n"


def page(rows: Sequence[Row], told: Mapping[str, str]) -> str:
    """Return the table as a page that needs no other file."""
    shown = table(COLUMNS, [cells(row) for row in rows])
    return document("FID by protocol", told, [f"<div class=rows>{shown}</div>"])
