"""A page of HTML for what one task has measured: what it was measured on, the numbers, curves beside their
table.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from diffexp.escape import markup

_STYLE = """
:root { color-scheme: light dark; --rule: #8884; --soft: #777; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 76rem; font: 15px/1.45 system-ui, sans-serif; }
h1 { font-size: 1.3rem; } code { font: 12.5px/1.4 ui-monospace, monospace; }
dl { display: grid; grid-template-columns: auto 1fr; gap: .1rem .8rem; } dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13px; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--rule); text-align: right; }
th, td { white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
.beside { display: flex; flex-wrap: wrap; gap: 1.5rem; align-items: flex-start; }
.beside figure { flex: 1 1 26rem; margin: 1rem 0; min-width: 0; }
.rows { flex: 0 1 auto; max-width: 100%; max-height: 26rem; overflow: auto; margin: 1rem 0; }
.rows thead th { position: sticky; top: 0; background: Canvas; }
svg { width: 100%; height: auto; } svg text { fill: currentColor; font-size: 12px; } .grid { stroke: #8884; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1rem; list-style: none; padding: 0; margin: .3rem 0; }
.legend svg { width: 28px; margin-right: .3rem; } figcaption { color: var(--soft); font-size: 13px; }
@media print { .rows { max-height: none; } }
"""
Table = tuple[Sequence[str], Sequence[Sequence[Any]]]
"""The names of the columns, and the rows; a number is shown with four digits, None as nothing."""


def page(title: str, about: Mapping[str, Any], numbers: Table, figure: str, rows: Table) -> str:
    """Return a page that needs no other file. about: what was measured on what; numbers: the results; rows:
    the numbers of the figure, which stand beside it.
    """
    items = "".join(f"<dt>{markup(k)}</dt><dd>{markup(str(v))}</dd>" for k, v in about.items())
    return "\n".join(
        [
            "<!doctype html><html lang=en><meta charset=utf-8>",
            "<meta name=viewport content='width=device-width,initial-scale=1'><link rel=icon href='data:,'>",
            f"<title>{markup(title)}</title><style>{_STYLE}</style>",
            f"<h1>{markup(title)}</h1><dl>{items}</dl>",
            table(*numbers),
            f"<div class=beside>{figure}<div class=rows tabindex=0>{table(*rows)}</div></div></html>",
        ]
    )


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a table as HTML."""
    names = "".join(f"<th scope=col>{markup(name)}</th>" for name in head)
    body = "".join(f"<tr>{''.join(f'<td>{_cell(v)}</td>' for v in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"<data value='{value!r}'>{value:.4g}</data>"
    return "" if value is None else markup(str(value))
