"""The outcome of a vote as tables in Markdown, and as a page with a picture of the intervals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from diffexp.comparison.answers import Voter
from diffexp.comparison.tally import Tally
from diffexp.comparison.votes import TIMES, Estimate
from diffexp.escape import line, markdown_cell, markup
from diffexp.report.curves import COLOURS
from diffexp.report.page import document, table

WIDTH, LABEL, RIGHT, ROW, LETTERS = 640, 220, 14, 30, 32
_STYLE = "h2 { font-size: 1.1rem; margin-top: 2rem; } .rows { max-height: none; } figure { margin: 1rem 0; }"


@dataclass(frozen=True)
class Rows:
    """A table, as it is shown everywhere."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def number(value: float, digits: int = 3) -> str:
    """Return a number as text, - for none."""
    return "-" if not math.isfinite(value) else f"{value:.{digits}f}"


def interval(estimate: Estimate) -> str:
    """Return the ends of an interval as text."""
    return "-" if estimate.interval is None else " to ".join(number(end) for end in estimate.interval)


def _ends(e: Estimate) -> list[str]:
    return [interval(e), e.by.partition(",")[0] if e.interval else "-"]


def tables(kind: str, outcome: Tally, voters: Sequence[Voter], left_out: Sequence[Voter]) -> list[Rows]:
    """Return the tables of a vote."""
    name, pairs = ("win rate", True) if kind == "pairs" else ("mean mark", False)
    ends, all_others = ["95 % interval", "by"], ", against all others" if pairs else ""
    runs = [[n, number(e.value), *_ends(e), str(e.count)] for n, e in outcome.runs.items()]
    out = [Rows(f"{name} of each run{all_others}", ["run", name, *ends, "answers"], runs)]
    counted = ["better", "tie", "worse", name] if pairs else ["difference"]
    head = ["run", "against", *counted, *ends]
    rows = [
        [b.a, b.b, *map(str, b.counts or ()), number(b.estimate.value), *_ends(b.estimate)]
        for b in outcome.between
    ]
    out.append(Rows("each pair of runs" if pairs else "differences of the mean marks", head, rows))
    if outcome.scores:
        rows = [[n, number(e.value), *_ends(e)] for n, e in outcome.scores.items()]
        out.append(Rows("Bradley–Terry score, in log odds", ["run", "score", *ends], rows))
    everyone = [(v, "") for v in voters] + [(v, "left out") for v in left_out]
    rows = [[v.name, str(len(v.given)), f"{v.failed} of {v.checks}", note] for v, note in everyone]
    out.append(Rows("voters", ["voter", "answers", "failed checks", ""], rows))
    return out


def about(outcome: Tally, voters: int, left_out: int) -> dict[str, str]:
    """Return what holds for all of the vote."""
    out = {"answers": f"{outcome.answers:,} of {_people(voters)}, without the checks"}
    if left_out:
        out["left out"] = f"{_people(left_out)}, for failed checks"
    if math.isfinite(outcome.same):
        out["agreement"] = f"Krippendorff's alpha {number(outcome.alpha)} (ordinal; 1 all agree, 0 chance)"
        out["agreement"] += f"; {number(outcome.same)} of the pairs of answers are the same"
    out["intervals"] = f"95 %; the bootstrap draws voters and images anew, {TIMES:,} times"
    if math.isfinite(outcome.left):
        out["intervals"] += "; Wilson's are of one voter without ties, or where all answers are the same"
        out["left image"] = f"preferred {number(outcome.left)}, a tie as half"
    return out


def _people(n: int) -> str:
    return "1 voter" if n == 1 else f"{n} voters"


def markdown(facts: dict[str, str], shown: Sequence[Rows]) -> str:
    """Return all of it in Markdown."""
    parts = ["\n".join(f"- {markdown_cell(k)}: {markdown_cell(v)}" for k, v in facts.items())]
    for of in shown:
        lines = [f"{markdown_cell(of.title)}\n", f"| {' | '.join(of.head)} |", "|---" * len(of.head) + "|"]
        lines += [f"| {' | '.join(map(markdown_cell, row))} |" for row in of.rows]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def page(facts: dict[str, str], kind: str, outcome: Tally, shown: Sequence[Rows]) -> str:
    """Return the outcome as a page that needs no other file."""
    middle, name = (0.5, "win rate") if kind == "pairs" else (None, "mean mark")
    parts = [figure(outcome.runs, middle, name)]
    for of in shown:
        rows = table(of.head, of.rows)
        parts += [f"<h2>{markup(of.title)}</h2>", f"<div class=rows tabindex=0>{rows}</div>"]
    return document("votes", facts, parts, _STYLE)


def figure(runs: dict[str, Estimate], middle: float | None, name: str) -> str:
    """Draw the value of each run as a dot with its interval: from 0 to 1 with a middle, else from 1 to 5."""
    low, high = (0.0, 1.0) if middle is not None else (1.0, 5.0)
    height = ROW * len(runs) + 40

    def x(value: float) -> str:
        return f"{LABEL + (value - low) / (high - low) * (WIDTH - LABEL - RIGHT):.1f}"

    parts = [f"<figure><svg viewBox='0 0 {WIDTH} {height}' role=img aria-label='{markup(name)} of each run'>"]
    for k in range(5):
        tick = low + k * (high - low) / 4
        parts.append(f"<path class=grid d='M{x(tick)} 4V{height - 34}'/>")
        parts.append(f"<text x={x(tick)} y={height - 18} text-anchor=middle>{tick:g}</text>")
    if middle is not None:
        parts.append(f"<path stroke=currentColor stroke-dasharray='4 3' d='M{x(middle)} 4V{height - 34}'/>")
    for i, (run, of) in enumerate(runs.items()):
        y, colour, shown = i * ROW + 20, COLOURS[i % len(COLOURS)], line(run)
        shown = shown if len(shown) <= LETTERS else f"…{shown[1 - LETTERS :]}"
        parts.append(f"<text x={LABEL - 10} y={y + 4} text-anchor=end>{markup(shown)}</text>")
        if of.interval is not None:
            ends = f"M{x(of.interval[0])} {y}H{x(of.interval[1])}"
            parts.append(f"<path stroke='{colour}' stroke-width=3 d='{ends}'/>")
        title = markup(f"{run}: {number(of.value)}, {interval(of)}")
        parts.append(f"<circle cx={x(of.value)} cy={y} r=5 fill='{colour}'><title>{title}</title></circle>")
    caption = f"<figcaption>{markup(name)}, and its 95 % interval</figcaption>"
    return "".join([*parts, f"</svg>{caption}</figure>"])
