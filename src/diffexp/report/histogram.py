"""Histograms as SVG: a bar for each value where there are few, else for equal parts of a logarithmic axis."""

import math
from collections.abc import Mapping

from diffexp.escape import markup

BARS = 12
WIDTH, HEIGHT, BOTTOM, TOP = 640, 260, 44, 20


def bins(values: Mapping[float, int]) -> list[tuple[str, int]]:
    """Return (label, count) of the bars. values: how often each number, above zero, is there."""
    if len(values) <= BARS:
        return [(f"{value:.4g}", n) for value, n in sorted(values.items())]
    low, high = math.log(min(values)), math.log(max(values))
    edges = [math.exp(low + (high - low) * i / BARS) for i in range(BARS + 1)]
    counts = [0] * BARS
    for value, n in values.items():
        counts[min(BARS - 1, int((math.log(value) - low) / (high - low) * BARS))] += n
    return [(f"{a:.3g}–{b:.3g}", n) for a, b, n in zip(edges, edges[1:], counts, strict=False)]


def histogram(name: str, values: Mapping[float, int]) -> str:
    """Return a figure; "" for no values. name: what the values are."""
    bars = bins(values)
    if not bars:
        return ""
    wide, most = WIDTH / len(bars), max(n for _, n in bars)
    parts = [f"<figure><svg viewBox='0 0 {WIDTH} {HEIGHT}' role=img aria-label='{markup(name)}'>"]
    for i, (label, n) in enumerate(bars):
        high = (HEIGHT - BOTTOM - TOP) * n / most
        x, y = i * wide, HEIGHT - BOTTOM - high
        parts.append(
            f"<rect x={x + 2:.1f} y={y:.1f} width={wide - 4:.1f} height={high:.1f} fill='#0072b2'>"
            f"<title>{markup(label)}: {n:,}</title></rect>"
            f"<text x={x + wide / 2:.1f} y={y - 5:.1f} text-anchor=middle>{n:,}</text>"
            f"<text x={x + wide / 2:.1f} y={HEIGHT - BOTTOM + 16} text-anchor=middle>{markup(label)}</text>"
        )
    parts.append(f"<text x={WIDTH / 2} y={HEIGHT - 8} text-anchor=middle>{markup(name)}</text></svg>")
    return "".join([*parts, "</figure>"])
