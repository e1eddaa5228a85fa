"""Each variant against each: what the selector of a baseline and the matrix of verdicts of a page show."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from diffexp.escape import markup
from diffexp.report.compared import LEVEL, Variant, Verdict, better_of, compared, corrected
from diffexp.report.curves import LARGEST
from diffexp.training.direction import Better

MOST = 36  # variants that are compared each with each
_SIGNS = {"better": "▲", "worse": "▼", "higher": "▲", "lower": "▼", "not separated": "·"}
_FLIPPED = {"▲": "▼", "▼": "▲"}


@dataclass(frozen=True)
class Pairs:
    """The verdicts of a number of several variants, corrected by Holm for all pairs. upper: of i against
    j = i + 1, ...; better: which direction is.
    """

    metric: str
    names: Sequence[str]
    upper: Sequence[Sequence[Verdict]]
    better: Better

    def sign(self, i: int, j: int) -> str:
        """Return ▲, ▼ or · for better, worse and not separated; ? where nothing can be said."""
        if i == j:
            return ""
        sign = _SIGNS.get(self.upper[min(i, j)][abs(i - j) - 1].words, "?")
        return sign if i < j else _FLIPPED.get(sign, sign)


def all_pairs(metric: str, those: Sequence[Variant]) -> Pairs | None:
    """Compare each of the variants, which all have the number, with each; None for one, for more than MOST,
    or where nothing can be said of any pair.
    """
    size = len(those)
    if not 2 <= size <= MOST:
        return None
    places = [(i, j) for i in range(size) for j in range(i + 1, size)]
    verdicts = iter(corrected([compared(metric, those[i], those[j]) for i, j in places]))
    upper = [[next(verdicts) for _ in range(i + 1, size)] for i in range(size)]
    if all(v.corrected is None for row in upper for v in row):
        return None
    rows = [run.row for v in those for run in v.having(metric)]
    return Pairs(metric, [v.name for v in those], upper, better_of(metric, rows))


def selector(pairs: Pairs, chosen: int | None = None) -> str:
    """Return the choice of a baseline, whose differences the cells and curves of the section then show, with
    what it needs to know. chosen: the one whose differences are shown at first; None for values at first.
    """
    options = "".join(
        f"<option value={k}{' selected' * (k == chosen)}>{markup(name)}</option>"
        for k, name in enumerate(pairs.names)
    )
    known = {"names": list(pairs.names), "upper": [[_entry(v) for v in row] for row in pairs.upper]}
    data = json.dumps(known).replace("<", "\\u003c")
    options = f"<option value=''>none</option>{options}" if chosen is None else options
    return (
        f" <label>difference to <select class=baseline>{options}</select></label>"
        f"<script type='application/json' class=pairs>{data}</script>"
    )


def _entry(v: Verdict) -> list[Any]:
    """Return [difference, its error, half of its interval, p, paired, verdict] as the page reads them."""
    d = v.difference
    if v.refused or d.error is None or not abs(d.value) + (d.half() or 0) < LARGEST:
        return [None, None, None, None, 0, v.words]
    return [_short(d.value), _short(d.error), _short(d.half()), _short(v.corrected), int(d.paired), v.words]


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")


def matrix(pairs: Pairs) -> str:
    """Return the table of all pairs, which says the interval of the one that is pointed at."""
    size = range(len(pairs.names))
    heads = "".join(f"<th scope=col><span>{markup(name)}</span></th>" for name in pairs.names)
    lines = [f"<tr><th></th>{heads}</tr>"]
    for i in size:
        cells = "".join(_cell(pairs, i, j) for j in size)
        lines.append(f"<tr><th scope=row>{markup(pairs.names[i])}</th>{cells}</tr>")
    up, down = ("higher", "lower") if pairs.better == "neither" else ("better", "worse")
    about = f"row against column: ▲ {up}, ▼ {down}, · open: not separated at {LEVEL:g} by Holm for all pairs"
    return (
        f"<details class=matrix><summary>all pairs of {markup(pairs.metric)}, {about}</summary>"
        f"<div class=scroll><table class=all>{''.join(lines)}</table></div>"
        "<p class=pair aria-live=polite>point at a cell for its interval</p></details>"
    )


def _cell(pairs: Pairs, i: int, j: int) -> str:
    sign = pairs.sign(i, j)
    kind = {"▲": " class=up", "▼": " class=down"}.get(sign, "")
    return f"<td{kind} tabindex=0 data-pair='{i} {j}'>{sign}</td>" if sign else "<td></td>"
