"""The tables of a comparison, in Markdown and as a page."""

from collections.abc import Sequence

from diffexp.escape import line, markdown_cell, markup
from diffexp.report.compared import LEVEL, Verdict
from diffexp.report.page import document, table
from diffexp.training.direction import which_is_better

COLUMNS = ("run", "value", "difference", "95 % interval", "p", "paired", "verdict", "what would decide it")


def cells(v: Verdict) -> list[str]:
    """Return the texts of a row, in the order of COLUMNS."""
    d, half = v.difference, v.difference.half()
    if v.refused:
        return [v.variant, f"{v.value:.4g}", "", "", "", "", v.words, ""]
    shown = f"{d.value:+.4g}" + (f" ± {d.error:.2g}" if d.error is not None else "")
    interval = "" if half is None else f"{d.value - half:+.3g} to {d.value + half:+.3g}"
    p = "" if v.corrected is None else f"{v.corrected:.2g}"
    p += "" if d.exact is None else f" (exact, alone {d.exact:.2g})"
    paired = f"{d.count:,} {d.unit}" if d.paired else f"no: {d.note}"
    return [v.variant, f"{v.value:.4g}", shown, interval, p, paired, v.words, v.decides]


def markdown(verdicts: Sequence[Verdict]) -> str:
    """Return a table in Markdown for each number."""
    parts = []
    for metric, of in _by_metric(verdicts):
        lines = [markdown_cell(_about(metric, of)), "", f"| {' | '.join(COLUMNS)} |"]
        lines.append("|---" * len(COLUMNS) + "|")
        lines += [f"| {' | '.join(map(markdown_cell, cells(v)))} |" for v in of]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def page(verdicts: Sequence[Verdict], correction: str) -> str:
    """Return the comparison as a page that needs no other file."""
    parts = list[str]()
    for metric, of in _by_metric(verdicts):
        parts.append(f"<h2>{markup(_about(metric, of))}</h2>")
        parts.append(f"<div class=rows>{table(COLUMNS, [cells(v) for v in of])}</div>")
    words = "corrected by Holm's method for all of them" if correction == "holm" else "not corrected"
    about = {
        "images": "differences of these checkpoints; ways of training are compared over 3 seeds or more",
        "±": "the standard error of the difference",
        "interval": "of each difference alone, by Student's t",
        "p": f"of {len(verdicts)} comparisons, {words}; separated below {LEVEL:g}",
    }
    return document("comparison", about, parts, ".rows { max-height: none; }")


def _by_metric(verdicts: Sequence[Verdict]) -> list[tuple[str, list[Verdict]]]:
    names = dict.fromkeys(v.metric for v in verdicts)
    return [(name, [v for v in verdicts if v.metric == name]) for name in names]


def _about(metric: str, of: Sequence[Verdict]) -> str:
    return line(f"{metric}, {which_is_better(metric)}, against {of[0].baseline}")
