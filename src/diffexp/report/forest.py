"""The differences of runs to one of them as dots with intervals, which follow the baseline of the page."""

from collections.abc import Sequence

from diffexp.escape import line, markup
from diffexp.report.compared import Verdict
from diffexp.report.curves import COLOURS, LARGEST, Axis

WIDTH, LABEL, ROW = 640, 190, 30
LETTERS = 26  # of a name beside its dot


def forest(metric: str, names: Sequence[str], upper: Sequence[Sequence[Verdict]], base: int) -> str:
    """Return a figure of each run's difference to run number `base`, with its 95 % interval; upper: the
    verdicts of i against j = i + 1, ...
    """
    rows = [_row(upper, i, base) for i in range(len(names))]
    ends = [end for row in rows if row is not None for end in (row[0] - row[1], row[0] + row[1])]
    x = Axis([0.0, *ends], LABEL, WIDTH - 16, log=False)
    bottom = 8 + ROW * len(names)
    label, box = markup(f"{metric}, differences"), f"{LABEL} {WIDTH - 16} 4 {bottom}"
    parts = [
        f"<figure><svg viewBox='0 0 {WIDTH} {bottom + 24}' role=img aria-label='{label}' "
        f"data-along=x data-box='{box}'><g class=scale>"
    ]
    for tick in x.ticks():
        kind = "grid zero" if tick == 0 else "grid"
        parts.append(f"<path class='{kind}' d='M{x(tick):.1f} 4V{bottom}'/>")
        parts.append(f"<text x={x(tick):.1f} y={bottom + 16} text-anchor=middle>{tick:g}</text>")
    parts.append("</g>")
    for i, (name, row) in enumerate(zip(names, rows, strict=True)):
        y, colour, shown = 8 + ROW * i + ROW // 2, COLOURS[i % len(COLOURS)], line(name)
        shown = shown if len(shown) <= LETTERS else f"{shown[: LETTERS - 1]}…"
        value, half = row or (0.0, 0.0)
        hidden = "" if row is not None else " style='display:none'"
        bar = f"M{x(value - half):.1f} {y}H{x(value + half):.1f}" if row is not None else ""
        parts.append(f"<text x={LABEL - 10} y={y + 4} text-anchor=end>{markup(shown)}</text>")
        stroke = f"stroke='{colour}' stroke-width=3"
        parts.append(f"<path class=bar data-cell={i} data-at={y} d='{bar}' {stroke} />")
        parts.append(
            f"<circle data-cell={i}{hidden} cx={x(value):.1f} cy={y} r=4.5 fill='{colour}'>"
            f"<title>{markup(name)}</title></circle>"
        )
    note = f"difference to {markup(names[base])}, and its 95 % interval"
    caption = f"<figcaption><code>{markup(metric)}</code> <span class=bars>{note}</span></figcaption>"
    return "".join([*parts, f"</svg>{caption}</figure>"])


def _row(upper: Sequence[Sequence[Verdict]], i: int, base: int) -> tuple[float, float] | None:
    """Return the difference and half of its interval; None where nothing can be said."""
    if i == base:
        return 0.0, 0.0
    verdict = upper[min(i, base)][abs(i - base) - 1]
    half = verdict.difference.half()
    if verdict.refused or half is None or not abs(verdict.difference.value) + half < LARGEST:
        return None
    return (verdict.difference.value if i < base else -verdict.difference.value), half
