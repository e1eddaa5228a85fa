"""Curves as SVG, such as a metric over network calls, on logarithmic axes, with error bars or bands."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from diffexp.escape import markup

WIDTH, HEIGHT = 640, 360
LARGEST = 1e100  # what is drawn; an axis has room beside it, and powers of ten as marks
NARROW = 2.5  # times as much: of less a logarithmic axis would have one mark or none
LEFT, RIGHT, TOP, BOTTOM = 64, 12, 12, 44
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#8c564b", "#7f7f7f")
DASHES = ("", "6 3", "2 3", "8 3 2 3")


@dataclass(frozen=True)
class Line:
    """points: (x, the values there: one for each seed, or a mean and the ends of its error bar); cells: the
    number of each point's cell, by which the page finds what to move.
    """

    name: str
    points: Sequence[tuple[float, Sequence[float]]]
    cells: Sequence[int] = ()


class Axis:
    """Maps values to pixels; logarithmic where all are positive and far apart, unless `log` is false."""

    def __init__(self, values: Sequence[float], start: float, end: float, log: bool = True) -> None:
        self.log = log and min(values) > 1 / LARGEST and max(values) > NARROW * min(values)
        low, high = self._of(min(values)), self._of(max(values))
        # values that differ by less than a millionth of them are one
        pad = max(0.05 * (high - low), 1e-6 * max(abs(low), abs(high))) or 0.5
        self.low, self.high, self.start, self.end = low - pad, high + pad, start, end

    def _of(self, value: float) -> float:
        return math.log10(value) if self.log else value

    def __call__(self, value: float) -> float:
        """Return the pixel; what a logarithmic axis does not have is at its low end."""
        place = self.low if self.log and value <= 0 else self._of(value)
        return self.start + (place - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> Iterator[float]:
        """Yield the values that have a mark."""
        if not self.log:
            power = 10 ** math.floor(math.log10((self.high - self.low) / 4))
            step = next(s for s in (power, 2 * power, 5 * power) if (self.high - self.low) / s < 10)
            first = math.ceil(self.low / step)
            yield from (i * step for i in range(first, math.floor(self.high / step) + 1))
            return
        wide = self.high - self.low > 3.2
        for power in range(math.floor(self.low), math.ceil(self.high) + 1):
            for digit in (1,) if wide else (1, 2, 5):
                if self.low <= power + math.log10(digit) <= self.high:
                    yield digit * 10.0**power


def curves(
    metric: str,
    lines: Sequence[Line],
    over: str = "network calls for one image",
    marks: bool = True,
    note: str = "",
) -> str:
    """Return a figure with its legend; "" for no lines. over: what x is; marks: a dot at each point, with an
    error bar; without, the errors are a band; note: what they span.
    """
    values = [v for line in lines for calls, ys in line.points for v in ys if _drawn_at(calls, v)]
    if not values:
        return ""
    if min(mean for line in lines for _, mean, _, _ in _means(line)) > 1 / LARGEST:
        values = [v for v in values if v > 1 / LARGEST]  # an error larger than its mean needs no zero
    places = [calls for line in lines for calls, ys in line.points for v in ys if _drawn_at(calls, v)]
    x = Axis(places, LEFT, WIDTH - RIGHT)
    y = Axis(values, HEIGHT - BOTTOM, TOP)
    label = markup(f"{metric} over {over}")
    box = f"data-along=y data-box='{HEIGHT - BOTTOM} {TOP} {LEFT} {WIDTH - RIGHT}'"
    parts = [f"<figure><svg viewBox='0 0 {WIDTH} {HEIGHT}' role=img aria-label='{label}' {box}>"]
    for value in x.ticks():
        at = x(value)
        parts.append(f"<path class=grid d='M{at:.1f} {TOP}V{HEIGHT - BOTTOM}'/>")
        parts.append(f"<text x={at:.1f} y={HEIGHT - BOTTOM + 16} text-anchor=middle>{value:g}</text>")
    parts.append("<g class=scale>")
    for value in y.ticks():
        at = y(value)
        parts.append(f"<path class=grid d='M{LEFT} {at:.1f}H{WIDTH - RIGHT}'/>")
        parts.append(f"<text x={LEFT - 6} y={at + 4:.1f} text-anchor=end>{value:g}</text>")
    parts.append("</g>")
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f"<text x={middle:.0f} y={HEIGHT - 8} text-anchor=middle>{markup(over)}</text>")
    parts += [_drawn(line, i, x, y, marks) for i, line in enumerate(lines)]
    legend = "".join(
        f"<li><svg viewBox='0 0 28 10'><path d='M0 5H28' {_stroke(i)}/></svg>{markup(line.name)}</li>"
        for i, line in enumerate(lines)
    )
    said = f" <span class=bars>{markup(note)}</span>" if note else ""
    caption = f"<figcaption><code>{markup(metric)}</code>{said}<ul class=legend>{legend}</ul></figcaption>"
    return "".join([*parts, "</svg>", caption, "</figure>"])


def _drawn_at(x: float, y: float) -> bool:
    return abs(x) < LARGEST and abs(y) < LARGEST  # not infinity, and no NaN


def _stroke(i: int) -> str:
    dash = DASHES[i // len(COLOURS) % len(DASHES)]
    return f"fill=none stroke='{COLOURS[i % len(COLOURS)]}' stroke-width=2 stroke-dasharray='{dash}'"


def _means(line: Line) -> list[tuple[float, float, float, float]]:
    """Return x, the mean, and the lowest and highest value at each point."""
    return [point for point in map(_mean, line.points) if point is not None]


def _mean(point: tuple[float, Sequence[float]]) -> tuple[float, float, float, float] | None:
    kept = [v for v in point[1] if _drawn_at(point[0], v)]
    return (point[0], sum(kept) / len(kept), min(kept), max(kept)) if kept else None


def _drawn(line: Line, i: int, x: Axis, y: Axis, marks: bool) -> str:
    points = _means(line)
    path = "L".join(f"{x(calls):.1f} {y(mean):.1f}" for calls, mean, _, _ in points)
    known = [cell for cell, point in zip(line.cells, line.points, strict=False) if _mean(point) is not None]
    ats = " ".join(f"{x(calls):.1f}" for calls, _, _, _ in points)
    moved = f" class=line data-cells='{' '.join(map(str, known))}' data-ats='{ats}'" if known else ""
    parts = [] if marks else [_band(points, i, x, y)]
    parts += [f"<path{moved} d='M{path}' {_stroke(i)}/>"] if len(points) > 1 else []
    for k, (calls, mean, low, high) in enumerate(points if marks or len(points) == 1 else ()):
        at, cell = x(calls), f" data-cell={known[k]}" if known else ""
        if high > low or known:
            bar = f" class=bar data-at={at:.1f}{cell}" if known else ""
            parts.append(f"<path{bar} d='M{at:.1f} {y(low):.1f}V{y(high):.1f}' {_stroke(i)}/>")
        label = markup(f"{line.name}: {mean:.4g} at {calls:g} calls")
        parts.append(
            f"<circle{cell} cx={at:.1f} cy={y(mean):.1f} r=3.5 fill='{COLOURS[i % len(COLOURS)]}'>"
            f"<title>{label}</title></circle>"
        )
    return "".join(parts)


def _band(points: Sequence[tuple[float, float, float, float]], i: int, x: Axis, y: Axis) -> str:
    if not any(high > low for _, _, low, high in points):
        return ""
    there = [f"{x(at):.1f} {y(high):.1f}" for at, _, _, high in points]
    back = [f"{x(at):.1f} {y(low):.1f}" for at, _, low, _ in reversed(points)]
    colour = COLOURS[i % len(COLOURS)]
    return f"<path class=band d='M{'L'.join([*there, *back])}Z' fill='{colour}' fill-opacity=.22 />"
