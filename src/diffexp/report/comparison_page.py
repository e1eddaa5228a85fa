"""The tables of a comparison, in Markdown and as a page."""

from collections.abc import Sequence
from importlib.resources import files

from diffexp.escape import line, markdown_cell, markup
from diffexp.report.compared import LEVEL, Variant, Verdict
from diffexp.report.forest import forest
from diffexp.report.page import document, table
from diffexp.report.pairs import Pairs, all_pairs, matrix, selector

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


def markdown(verdicts: Sequence[Verdict], notes: Sequence[str] = ()) -> str:
    """Return a table in Markdown for each number, and the notes."""
    parts = []
    for metric, of in _by_metric(verdicts):
        lines = [markdown_cell(_about(metric, of)), "", f"| {' | '.join(COLUMNS)} |"]
        lines.append("|---" * len(COLUMNS) + "|")
        lines += [f"| {' | '.join(map(markdown_cell, cells(v)))} |" for v in of]
        parts.append("\n".join(lines))
    return "\n\n".join([*parts, *map(line, notes)]) + "\n"


def page(
    verdicts: Sequence[Verdict],
    correction: str,
    those: Sequence[Variant] = (),
    notes: Sequence[str] = (),
    picture: str = "",
) -> str:
    """Return the comparison as a page that needs no other file. those: what was compared, for the differences
    of each to each; notes: what else is to be known; picture: samples of the same noise, as HTML.
    """
    parts = list[str]()
    for metric, of in _by_metric(verdicts):
        parts.append(f"<section class=metric><h2>{markup(_about(metric, of))}</h2>")
        parts.append(f"<div class=rows>{table(COLUMNS, [cells(v) for v in of])}</div>")
        there = [v for v in those if v.having(metric)]
        if (pairs := all_pairs(metric, there)) is not None:
            parts += [_each(pairs, there, of[0].baseline), matrix(pairs)]
        parts.append("</section>")
    words = "corrected by Holm's method for all of them" if correction == "holm" else "not corrected"
    about = {
        "images": "differences of these checkpoints; ways of training are compared over 3 seeds or more",
        "±": "the standard error of the difference",
        "interval": "of each difference alone, by Student's t",
        "p": f"of {len(verdicts)} comparisons, {words}; separated below {LEVEL:g}",
    } | ({"note": "; ".join(notes)} if notes else {})
    here = files("diffexp.report")
    script, style = (here.joinpath(n).read_text(encoding="utf-8") for n in ("pairs.js", "pairs.css"))
    parts += [picture, f"<script>\n{script}</script>"]
    return document("comparison", about, parts, f".rows {{ max-height: none; }}\n{style}")


def _each(pairs: Pairs, those: Sequence[Variant], baseline: str) -> str:
    """Return the values, the choice of a baseline, and the differences to it, also as a figure; the page's
    script writes those of the table.
    """
    rows = [
        f"<tr><th scope=row>{markup(v.name)}</th><td>{v.mean(pairs.metric):.4g}</td>"
        f"<td><span class=shown data-cell={i}></span></td></tr>"
        for i, v in enumerate(those)
    ]
    base = list(pairs.names).index(baseline)
    drawn = forest(pairs.metric, pairs.names, pairs.upper, base)
    caption = f"<caption>{markup(pairs.metric)},{selector(pairs, base)}</caption>"
    return f"<div class=beside><table class=values>{caption}{''.join(rows)}</table>{drawn}</div>"


def _by_metric(verdicts: Sequence[Verdict]) -> list[tuple[str, list[Verdict]]]:
    names = dict.fromkeys(v.metric for v in verdicts)
    return [(name, [v for v in verdicts if v.metric == name]) for name in names]


def _about(metric: str, of: Sequence[Verdict]) -> str:
    return line(f"{metric}, {of[0].better} is better, against {of[0].baseline}")
