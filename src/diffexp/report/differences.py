"""The differences of a sweep's cells: to the best in table.md, between all of them in report.html."""

from collections.abc import Mapping

from diffexp.escape import line, markdown_cell
from diffexp.report.compared import Variant, Verdict, best, compared, corrected, variants
from diffexp.report.pairs import Pairs, all_pairs
from diffexp.report.table import Snapshot, metrics_of, pivot

Place = tuple[str, str]


def to_best(snapshot: Snapshot, metric: str) -> dict[Place, Verdict]:
    """Return the verdict of each cell against the best, by its row and column, corrected for all of them."""
    there = _having(snapshot, metric)
    base = best(metric, list(there.values()))
    others = {place: v for place, v in there.items() if v is not base}
    if base is None or not others or pivot(snapshot, metric).better == "neither":
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


def of_pairs(snapshot: Snapshot, metric: str) -> tuple[Pairs | None, Mapping[Place, int]]:
    """Return the verdicts of all pairs of cells, in the order of the table, None for none; and the number of
    each cell among them.
    """
    there, p = _having(snapshot, metric), pivot(snapshot, metric)
    order = [place for r in p.rows for c in p.columns if (place := (r, c)) in there]
    pairs = all_pairs(metric, [there[place] for place in order])
    return pairs, {place: k for k, place in enumerate(order)} if pairs else {}
