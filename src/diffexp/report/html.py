"""report.html: a sweep in one file that needs nothing else, for the eye and for a colleague."""

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from diffexp.config import argv
from diffexp.escape import markup
from diffexp.files import write
from diffexp.report.curves import Line, curves
from diffexp.report.differences import Place, beside, of_pairs, shared
from diffexp.report.labels import named
from diffexp.report.pairs import MOST, matrix, selector
from diffexp.report.sweep_pictures import from_same_noise, pictures
from diffexp.report.table import (
    LAST,
    Cells,
    Pivot,
    Snapshot,
    Sweep,
    flat,
    markdown,
    metrics_of,
    numbers,
    pivot,
    places,
    protocol,
    read,
)

BUDGET = 1_300_000  # bytes of pictures in base64


def refresh(folder: Path) -> None:
    """Write table.md, results.csv and report.html of a sweep's folder, from its rows. Raises ResourceError,
    DataError.
    """
    snapshot = read(folder)
    write(folder / "table.md", markdown(snapshot, shared(snapshot)) + beside(snapshot))
    write(folder / "results.csv", flat(snapshot))
    write(folder / "report.html", page([snapshot]))


def page(sweeps: Sequence[Sweep]) -> str:
    """Return the report of one sweep, or of several below each other. Raises DataError."""
    here = files("diffexp.report")
    names = ("report.html", "pairs.js", "pairs.css")
    template, script, style = (here.joinpath(name).read_text(encoding="utf-8") for name in names)
    snapshots = [read(sweep) for sweep in sweeps]
    cells = sum(len(f.cells) for f in snapshots)
    body = "\n".join(_sweep(f, BUDGET // max(1, cells)) for f in snapshots)
    rows = [_finite(row) for f in snapshots for _, row in f.cells if row]
    data = json.dumps(rows).replace("<", "\\u003c")
    title = " and ".join(dict.fromkeys(f.plan["name"] for f in snapshots))
    return Template(template).substitute(title=markup(title), body=body, data=data, pairs=script, style=style)


def _finite(value: Any) -> Any:
    """Return the same with null for numbers that JSON does not have: a browser would read none of it."""
    if isinstance(value, Mapping):
        return {key: _finite(v) for key, v in value.items()}
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _sweep(snapshot: Snapshot, budget: int) -> str:
    plan, cells = snapshot.plan, snapshot.cells
    states = [row["state"] if row else "to do" for _, row in cells]
    counts = ", ".join(f"{states.count(s)} {s}" for s in ("done", "failed", "to do") if s in states)
    seconds = sum(row.get("seconds") or 0 for _, row in cells if row)
    note = f"<p>{markup(snapshot.note)}.</p>" if snapshot.note else ""
    parts = [
        f"<h2>{markup(plan['name'])}, {markup(snapshot.folder.resolve().name)}</h2>",
        f"<p>{len(cells)} jobs: {counts}. {seconds:,.0f} s of work in all.</p>{note}",
        f"<pre class=command>{markup(plan['command'])}</pre>",
    ]
    rows, marked = {r["id"]: r for _, r in cells if r}, shared(snapshot)
    for metric in metrics_of(snapshot):
        pairs, index = of_pairs(snapshot, metric)
        p, lines = pivot(snapshot, metric), _lines(plan, cells, metric, index)
        choice = f",{selector(pairs)}" if pairs else _too_many(len(p.stats))
        heat = _heat(p, rows, marked.get(metric, set()), choice, index)
        drawn = curves(metric, lines, note=_bars(plan, lines))
        parts += ["<section class=metric>", heat, drawn, matrix(pairs) if pairs else "", "</section>"]
    parts += [pictures(snapshot, budget), from_same_noise(snapshot), _all(snapshot), _failed(cells)]
    return "\n".join(filter(None, parts))


def _too_many(cells: int) -> str:
    words = f" <small>differences of any two: of up to {MOST} cells; of some: task=compare</small>"
    return words if cells > MOST else ""


def _heat(
    p: Pivot,
    rows: dict[str, dict[str, Any]],
    marked: set[Place],
    choice: str,
    index: Mapping[Place, int],
) -> str:
    """Draw the pivot, darker where better; each cell shows its card when pointed at or reached by Tab.
    marked: cells that share the mark of the best; choice: what switches to differences, index: the cells'
    numbers in it.
    """
    values = {s.mean for s in p.stats.values() if math.isfinite(s.mean)}
    ranks = [] if p.better == "neither" else sorted(values, reverse=p.better != "higher")
    head = " \\ ".join(filter(None, p.heads))
    lines = [
        "<figure><table class=heat>",
        f"<caption><code>{markup(p.metric)}</code>, {p.better} is better{choice}</caption>",
        f"<thead><tr><th scope=col>{markup(head)}</th>",
        *(f"<th scope=col>{markup(c or 'value')}</th>" for c in p.columns),
        "</tr></thead><tbody>",
    ]
    for r in p.rows:
        lines.append(f"<tr><th scope=row>{markup(r)}</th>")
        for c in p.columns:
            stat = p.stats.get((r, c))
            if stat is None:
                lines.append("<td class=none>·</td>")
                continue
            share = ranks.index(stat.mean) / max(1, len(ranks) - 1) if stat.mean in ranks else 0.0
            text = f"{stat.mean:.4g}" + (f" ± {stat.spread:.2g}" if stat.spread is not None else "")
            if stat.published is not None:
                text += f"<br><small>paper {stat.published:g}, {stat.mean - stat.published:+.2f}</small>"
            bold = " class=best" if stat.mean == p.best or (r, c) in marked else ""
            known = f" data-cell={index[r, c]}" if (r, c) in index else ""
            card = f"<span class=card>{_card(rows[stat.ids[0]], p.metric)}</span>"
            lines.append(
                f'<td{bold} tabindex=0 style="--share:{100 * share:.0f}%">'
                f"<span class=shown{known}>{text}</span>{card}</td>"
            )
        lines.append("</tr>")
    return "\n".join([*lines, "</tbody></table></figure>"])


def _card(row: dict[str, Any], metric: str) -> str:
    """Return the card of a number as HTML."""
    card = protocol(row, metric)
    card = {**card, "seconds": row.get("seconds"), "job": row["id"]}
    items = (f"<dt>{markup(str(k))}<dd>{markup(str(v))}" for k, v in card.items())
    return f"<dl>{''.join(items)}</dl>"


def _lines(plan: dict[str, Any], cells: Cells, metric: str, index: Mapping[Place, int]) -> list[Line]:
    """Return the metric over network calls, a line for each choice of the other keys; none where calls do not
    vary. index: the numbers of the cells.
    """
    keys = [k for k in plan["varying"] if k not in ("seed", *LAST)]
    points: dict[str, dict[float, list[tuple[float, float]]]] = {}
    numbers_of: dict[str, dict[float, int]] = {}
    for (cell, row), place in zip(cells, places(plan, cells), strict=True):
        if row and row["state"] == "done" and metric in numbers(row) and row["results"].get("nfe"):
            name = named({k: cell["values"][k] for k in keys}) or metric
            calls = points.setdefault(name, {})
            value, error = numbers(row)[metric], protocol(row, metric).get("standard_error")
            calls.setdefault(row["results"]["nfe"], []).append((value, error or 0.0))
            if place in index:
                numbers_of.setdefault(name, {}).setdefault(row["results"]["nfe"], index[place])
    lines = list[Line]()
    for name, of in points.items():
        known = [numbers_of.get(name, {}).get(calls) for calls in sorted(of)]
        known = [] if None in known else known
        lines.append(Line(name, [(c, _bar(v)) for c, v in sorted(of.items())], known))  # type: ignore[arg-type]
    return lines if any(len(line.points) > 1 for line in lines) else []


def _bars(plan: Mapping[str, Any], lines: Sequence[Line]) -> str:
    """Say what the error bars span; "" where there are none."""
    if all(len(set(ys)) == 1 for line in lines for _, ys in line.points):
        return ""
    seeds = "seed" in plan["varying"]
    return "bars: the lowest and the highest seed" if seeds else "bars: the standard error of each alone"


def _bar(values: Sequence[tuple[float, float]]) -> list[float]:
    """Return what an error bar spans: the values of all seeds, or the standard error of the only one."""
    (value, error), *more = values
    return [v for v, _ in values] if more else [value - error, value, value + error]


def _all(sweep: Snapshot) -> str:
    """List every job, sortable, with the command that makes it again."""
    keys, metrics = list(sweep.plan["varying"]), metrics_of(sweep)
    heads = [*keys, *metrics, "nfe", "seconds", "state"]
    lines = ["<h3>All jobs</h3><div class=scroll><table class=all><thead><tr>"]
    lines += [f"<th scope=col><button class=sort>{markup(h)}</button></th>" for h in heads]
    lines.append("<th scope=col>again</th></tr></thead><tbody>")
    for cell, row in sweep.cells:
        row = row or {"state": "to do"}
        measured, results = numbers(row), row.get("results") or {}
        values = [cell["values"][k] for k in keys] + [measured.get(m) for m in metrics]
        values += [results.get("nfe"), row.get("seconds"), row["state"]]
        lines.append(
            f"<tr data-id='{markup(cell['id'])}'>" + "".join(f"<td>{_plain(v)}</td>" for v in values)
        )
        command = markup(shlex.join([*argv.command(here=False), *cell["typed"]]))
        lines.append(f"<td><details><summary>command</summary><code>{command}</code></details></td></tr>")
    return "".join([*lines, "</tbody></table></div>"])


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"<data value='{value!r}'>{value:.5g}</data>"
    return "" if value is None else markup(str(value))


def _failed(cells: Cells) -> str:
    items = [
        f"<li><code>{markup(' '.join(cell['typed']))}</code><pre>{markup(row.get('error') or '')}</pre></li>"
        for cell, row in cells
        if row and row["state"] == "failed"
    ]
    return f"<h3>Failures</h3><ul>{''.join(items)}</ul>" if items else ""
