"""The differences of a sweep's cells: to the best in table.md, between all of them in report.html."""

import json
from collections.abc import Mapping

from diffexp.escape import line, markdown_cell, markup
from diffexp.report.compared import LEVEL, Variant, Verdict, best, compared, corrected, variants
from diffexp.report.table import Snapshot, metrics_of, pivot
from diffexp.training.direction import neutral

Place = tuple[str, str]
MOST = 36  # variants that are compared each with each
_SIGNS = {"better": "▲", "worse": "▼", "higher": "▲", "lower": "▼", "not separated": "·"}


def to_best(snapshot: Snapshot, metric: str) -> dict[Place, Verdict]:
    """Return the verdict of each cell against the best, by its row and column, corrected for all of them."""
    there = _having(snapshot, metric)
    base = best(metric, list(there.values()))
    others = {place: v for place, v in there.items() if v is not base}
    if base is None or not others or neutral(metric):
        return {}
    return dict(zip(others, corrected([compared(metric, v, base) for v in others.values()]), strict=True))


def _having(snapshot: Snapshot, metric: str) -> dict[Place, Variant]:
    return {place: v for place, v in variants(snapshot).items() if v.having(metric)}


def shared(snapshot: Snapshot) -> Mapping[str, set[Place]]:
    """Return the cells that are not separated from the best, of each metric: they share its mark."""
    verdicts = {metric: to_best(snapshot, metric) for metric in metrics_of(snapshot)}
    return {m: {place for place, v in of.items() if v.separated is False} for m, of in verdicts.items()}


def beside(snapshot: Snapshot) -> str:
    """Return tables in Markdown of the differences to the best; "" where nothing can be said of any."""
    parts = list[str]()
    for metric in metrics_of(snapshot):
        verdicts = to_best(snapshot, metric)
        if any(v.separated is not None for v in verdicts.values()):
            parts.append(_table(snapshot, metric, verdicts))
    return "".join(f"\n{part}\n" for part in parts)


def _table(snapshot: Snapshot, metric: str, verdicts: Mapping[Place, Verdict]) -> str:
    p, name = pivot(snapshot, metric), line(metric).replace("`", chr(39))
    head = " \\ ".join(markdown_cell(key) for key in p.heads if key)
    about = f"{'' if _paired(verdicts) else 'un'}paired, by Holm for {len(verdicts)}"
    lines = [f"`{name}`, difference to the best ± its standard error; bold: not separated ({about})", ""]
    lines += [f"| {head} | " + " | ".join(markdown_cell(c or metric) for c in p.columns) + " |"]
    lines += ["|---|" + "---|" * len(p.columns)]
    for r in p.rows:
        texts = [_text(p.stats.get((r, c)) is not None, verdicts.get((r, c))) for c in p.columns]
        lines.append(f"| {markdown_cell(r)} | " + " | ".join(texts) + " |")
    return "\n".join(lines)


def _paired(verdicts: Mapping[Place, Verdict]) -> bool:
    return all(v.difference.paired for v in verdicts.values())


def _text(there: bool, verdict: Verdict | None) -> str:
    if verdict is None:
        return "**best**" if there else ""
    if verdict.refused or verdict.difference.error is None:
        return "?"
    text = f"{verdict.difference.value:+.3g}"
    text = f"**{text}**" if verdict.separated is False else text
    return f"{text} ± {verdict.difference.error:.2g}"


def _all_pairs(snapshot: Snapshot, metric: str) -> tuple[list[Place], list[list[Verdict | None]]]:
    """Return the cells, and the verdict of each against each, corrected for all pairs; none for too many, or
    where nothing can be said.
    """
    there = _having(snapshot, metric)
    if not 2 <= len(there) <= MOST:
        return [], []
    vs, size = list(there.values()), len(there)
    pairs = [(i, j) for i in range(size) for j in range(size) if i != j]
    half = corrected([compared(metric, vs[i], vs[j]) for i, j in pairs if i < j])
    if all(v.corrected is None for v in half):
        return [], []
    rows: list[list[Verdict | None]] = [[None] * size for _ in vs]
    for (i, j), verdict in zip([pair for pair in pairs if pair[0] < pair[1]], half, strict=True):
        rows[i][j] = verdict
    return list(there), rows


def of_pairs(snapshot: Snapshot, metric: str) -> tuple[str, str]:
    """Return the selector of a baseline, for the table's caption, and the table of all pairs; "" for none."""
    places, rows = _all_pairs(snapshot, metric)
    return (_selector(snapshot, metric, places, rows), _matrix(metric, places, rows)) if places else ("", "")


def _selector(snapshot: Snapshot, metric: str, places: list[Place], rows: list[list[Verdict | None]]) -> str:
    p = pivot(snapshot, metric)
    order = [place for r in p.rows for c in p.columns if (place := (r, c)) in p.stats]
    index = [places.index(place) if place in places else -1 for place in order]
    shown = [["" if i < 0 or j < 0 else _shown(rows, i, j) for i in index] for j in index]
    names = [markup(" ".join(filter(None, place))) for place in order]
    options = "".join(f"<option value={k}>{name}</option>" for k, name in enumerate(names))
    return (
        f" <label>less <select class=baseline data-shown='{markup(json.dumps(shown))}'>"
        f"<option value=''>nothing</option>{options}</select></label>"
    )


def _shown(rows: list[list[Verdict | None]], i: int, j: int) -> str:
    """Return the difference of cell i to cell j as it is shown; * where it is separated."""
    verdict, sign = (rows[i][j], 1) if i < j else (rows[j][i], -1)
    if i == j or verdict is None:
        return "0"
    error = verdict.difference.error
    if verdict.refused or error is None:
        return "?"
    return f"{sign * verdict.difference.value:+.3g} ± {error:.2g}{'*' if verdict.separated else ''}"


def _matrix(metric: str, places: list[Place], rows: list[list[Verdict | None]]) -> str:
    names = [markup(" ".join(filter(None, place))) for place in places]
    heads = "".join(f"<th scope=col>{name}</th>" for name in names)
    lines = [f"<tr><th></th>{heads}</tr>"]
    for i, name in enumerate(names):
        marks = (f"<td>{_sign(rows, i, j)}</td>" for j in range(len(names)))
        lines.append(f"<tr><th scope=row>{name}</th>{''.join(marks)}</tr>")
    up, down = ("higher", "lower") if neutral(metric) else ("better", "worse")
    about = f"row against column: ▲ {up}, ▼ {down}, · not separated at {LEVEL:g} by Holm for all pairs"
    return (
        f"<details><summary>all pairs of {markup(metric)}, {about}</summary>"
        f"<div class=scroll><table class=all>{''.join(lines)}</table></div></details>"
    )


def _sign(rows: list[list[Verdict | None]], i: int, j: int) -> str:
    verdict = rows[i][j] if i < j else rows[j][i]
    if i == j or verdict is None:
        return ""
    sign = _SIGNS.get(verdict.words, "?")
    return sign if i < j else {"▲": "▼", "▼": "▲"}.get(sign, sign)
