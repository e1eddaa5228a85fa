"""The table of a sweep: rows × columns of what varied, mean ± spread over seeds, the best in bold."""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffexp.escape import csv_field, first_line, line, markdown_cell
from diffexp.report.costs import COSTS, budget, costs
from diffexp.report.labels import short
from diffexp.run.plan import read_plan
from diffexp.run.results import ROWS, read_rows
from diffexp.training.direction import Better, direction

ASIDE = {
    "n",
    "nfe",
    "seconds",
    "sampling_seconds",
    "train_seconds",
    "steps",
    "epoch",
}  # numbers that are no result
LAST = ("sampler.steps", "task.calls")  # keys that read best from left to right

Cells = Sequence[tuple[dict[str, Any], dict[str, Any] | None]]


@dataclass(frozen=True)
class Snapshot:
    """A sweep at one moment; cells: each of the plan with its row; left_out: how many rows are none."""

    folder: Path
    plan: dict[str, Any]
    cells: Cells
    left_out: int

    @property
    def note(self) -> str:
        """The line about the rows that were left out; "" for none."""
        return f"rows of {ROWS} that no job writes, left out: {self.left_out}" if self.left_out else ""


Sweep = Path | Snapshot
"""The folder of a sweep, or what was read there: jobs go on to end while a report is made."""


@dataclass(frozen=True)
class Stat:
    """The mean and spread (None for one value) of a metric, of `count` jobs; ids: theirs."""

    mean: float
    spread: float | None
    count: int
    nfe: float | None
    seconds: float
    ids: tuple[str, ...]
    published: float | None = None


@dataclass(frozen=True)
class Pivot:
    """The table of one metric; heads: what the rows and columns are of; stats: by (row, column); better:
    which direction is.
    """

    metric: str
    heads: tuple[str, str]
    rows: list[str]
    columns: list[str]
    stats: dict[tuple[str, str], Stat]
    better: Better = "neither"

    @property
    def best(self) -> float | None:
        """The best mean; None where no direction is better."""
        if self.better == "neither":
            return None
        means = [s.mean for s in self.stats.values() if math.isfinite(s.mean)]
        return (max if self.better == "higher" else min)(means, default=None)


def numbers(row: Mapping[str, Any]) -> dict[str, float]:
    """Return the results of a row that are numbers."""
    results = row.get("results") or {}
    return {
        k: v
        for k, v in results.items()
        if isinstance(v, (int, float)) and not isinstance(v, bool) and k not in ASIDE
    }


def protocol(row: Mapping[str, Any], metric: str) -> dict[str, Any]:
    """Return the card of a number, which says how it was made; `metric@scale` may have one of its own."""
    cards = (row.get("results") or {}).get("cards") or {}
    return cards.get(metric) or cards.get(metric.split("@")[0]) or {}


def better_of(metric: str, rows: Iterable[Mapping[str, Any]]) -> Better:
    """Return which direction of a number is better, by the first card that says so, or by its key."""
    cards = (protocol(row, metric) for row in rows)
    return direction(metric, next((card for card in cards if "better" in card), None))


def read(sweep: Sweep) -> Snapshot:
    """Read the plan and the rows, if that is not done yet. Raises DataError."""
    if isinstance(sweep, Snapshot):
        return sweep
    plan, (rows, left_out) = read_plan(sweep), read_rows(sweep)
    return Snapshot(sweep, plan, [(cell, rows.get(cell["id"])) for cell in plan["cells"]], left_out)


def metrics_of(sweep: Sweep) -> list[str]:
    """Return the metrics that any job has, that of the layout first. Raises DataError."""
    snapshot = read(sweep)
    names: list[str] = []
    for _, row in snapshot.cells:
        names += [k for k in numbers(row or {}) if k not in names]
    first = snapshot.plan["layout"].get("metric")
    return sorted(names, key=lambda k: k != first) if first in names else names


def pivot(sweep: Sweep, metric: str) -> Pivot:
    """Return the table of one metric. Raises DataError."""
    snapshot = read(sweep)
    plan, cells = snapshot.plan, snapshot.cells
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    names = places(plan, cells)
    for (_, row), place in zip(cells, names, strict=True):
        if row is not None and row["state"] == "done" and metric in numbers(row):
            groups.setdefault(place, []).append(row)
    published = _published(plan, cells)
    stats = {place: _stat(rows, metric, published.get(place)) for place, rows in groups.items()}
    down, across = (", ".join(keys) for keys in _heads(plan))
    rows_, columns = (list(dict.fromkeys(place[i] for place in names)) for i in (0, 1))
    which = better_of(metric, (row for rows in groups.values() for row in rows))
    return Pivot(metric, (down, across), rows_, columns, stats, which)


def places(plan: Mapping[str, Any], cells: Cells) -> list[tuple[str, str]]:
    """Return the row and the column of each cell."""
    down, across = _heads(plan)

    def name(cell: Mapping[str, Any], keys: Sequence[str]) -> str:
        return " ".join(short(k, cell["values"][k], len(keys)) for k in keys)

    return [(name(cell, down), name(cell, across)) for cell, _ in cells]


def _heads(plan: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Return the keys of the rows and of the columns; seeds are averaged over."""
    keys = [k for k in plan["varying"] if k != "seed"]
    layout = plan["layout"]
    down = _listed(layout.get("rows"))
    free = [k for k in keys if k not in down]
    columns = _listed(layout.get("columns")) or [k for k in free if k in LAST][:1]
    if not columns and len(free) > 1:
        columns = free[-1:]
    given = down or [k for k in keys if k not in columns]
    return [k for k in given if k in keys], [k for k in columns if k in keys]


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value or [])


def _stat(rows: Sequence[Mapping[str, Any]], metric: str, published: float | None) -> Stat:
    values = [numbers(row)[metric] for row in rows]
    mean = sum(values) / len(values)
    square = sum((v - mean) * (v - mean) for v in values)  # ** would raise where a float overflows
    spread = math.sqrt(square / (len(values) - 1)) if len(values) > 1 else None
    calls = {row["results"].get("nfe") for row in rows}
    seconds = sum(row.get("seconds") or 0 for row in rows) / len(rows)
    nfe = calls.pop() if len(calls) == 1 else None
    return Stat(mean, spread, len(values), nfe, seconds, tuple(row["id"] for row in rows), published)


def _published(plan: Mapping[str, Any], cells: Cells) -> dict[tuple[str, str], float]:
    """Return the values of a paper, where the sweep file has them for this data."""
    paper = plan["layout"].get("published") or {}
    cards = [c for _, r in cells if r for c in ((r.get("results") or {}).get("cards") or {}).values()]
    if not paper or not any(str(card.get("data", "")).startswith(str(paper["data"])) for card in cards):
        return {}
    return {tuple(k.split(",")): float(v) for k, v in paper["values"].items()}  # type: ignore[misc]


def text_of(stat: Stat | None, bold: bool) -> str:
    """Return a value as it is shown: 3.21 ± 0.04 (4.04, −0.83)."""
    if stat is None:
        return ""
    text = f"{stat.mean:.4g}"
    if bold:
        text = f"**{text}**"
    if stat.spread is not None:
        text += f" ± {stat.spread:.2g}"
    if stat.published is not None:
        text += f" ({stat.published:g}, {stat.mean - stat.published:+.2f})"
    return text


def markdown(sweep: Sweep, shared: Mapping[str, set[tuple[str, str]]] = {}) -> str:
    """Return a table in Markdown for each metric; shared: cells marked as the best. Raises DataError."""
    snapshot = read(sweep)
    parts = []
    for metric in metrics_of(snapshot):
        p, also = pivot(snapshot, metric), shared.get(metric, ())
        head = " \\ ".join(markdown_cell(name) for name in p.heads if name)
        lines = [f"`{line(metric).replace('`', chr(39))}`, {p.better} is better", ""]
        lines += [f"| {head} | " + " | ".join(markdown_cell(c or metric) for c in p.columns) + " |"]
        lines += ["|---|" + "---|" * len(p.columns)]
        for r in p.rows:
            across = [(c, p.stats.get((r, c))) for c in p.columns]
            marked = [s is not None and (s.mean == p.best or (r, c) in also) for c, s in across]
            texts = [text_of(s, bold) for (_, s), bold in zip(across, marked, strict=True)]
            lines.append(f"| {markdown_cell(r)} | " + " | ".join(texts) + " |")
        parts.append("\n".join(lines))
    parts = [*(parts or ["no job has a result yet"]), costs(snapshot.plan, snapshot.cells)]
    return "\n\n".join(filter(None, [*parts, snapshot.note])) + "\n"


def flat(sweep: Sweep) -> str:
    """Return results.csv: a line for each job of the plan. Raises DataError."""
    snapshot = read(sweep)
    keys, metrics = list(snapshot.plan["varying"]), metrics_of(snapshot)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    of = list(COSTS) if any(budget(row) for _, row in snapshot.cells) else []
    heads = [*keys, *metrics, "nfe", "seconds", *(f"budget.{key}" for key in of)]
    writer.writerow(map(csv_field, [*heads, "state", "id", "folder", "error"]))
    for cell, row in snapshot.cells:
        row = row or {"state": "to do"}
        values = numbers(row)
        texts, cost = [cell["values"][k] for k in keys] + [values.get(m, "") for m in metrics], budget(row)
        texts += [(row.get("results") or {}).get("nfe", ""), row.get("seconds", "")]
        texts += ["" if (v := cost.get(k)) is None else v for k in of]
        texts += [row["state"], cell["id"], cell["folder"], first_line(row.get("error") or "")]
        writer.writerow(map(csv_field, texts))
    return out.getvalue()
