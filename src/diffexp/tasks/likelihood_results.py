"""What task=likelihood has found: on the screen, as tables, and as a page."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from torch import Tensor

from diffexp.diffusion.likelihood import Bits
from diffexp.files import write
from diffexp.report.curves import Line, curves
from diffexp.report.page import page
from diffexp.run.console import near, say
from diffexp.run.folder import Record
from diffexp.run.job import Job

HEADS = {"bits_per_dim": "learned variance", "fixed_small": "fixed small", "fixed_large": "fixed large"}
ERRORS = {
    "bits_per_dim": "standard_error",
    "fixed_small": "fixed_small_error",
    "fixed_large": "fixed_large_error",
}
Row = dict[str, float | None]


def interval(values: Tensor) -> tuple[float, float | None]:
    """Return the mean over images, and half its 95 % interval: None for one image, which has none."""
    half = 1.96 * float(values.std()) / len(values) ** 0.5 if len(values) > 1 else None
    return float(values.mean()), half


def words(mean: float, half: float | None, sign: str = "") -> str:
    """Return an interval in words."""
    if half is None:
        return "unknown: one image"
    return f"{mean - half:{sign}.4f} to {mean + half:{sign}.4f}"


def tell_flow(record: Record, bits: Tensor, split: str, probes: int) -> None:
    """Say the bits by the flow, and put them into the results."""
    mean, half = interval(bits)
    record.results |= _mean(mean, half) | {"n": len(bits), "probes": probes}
    trace = f"{probes} probes" if probes else "the exact trace"
    say(f"{mean:.4f} bits/dim of {len(bits)} {split} images by the flow ({trace}), "
        f"95 % interval {words(mean, half)}")  # fmt: skip


def tell_bound(job: Job, record: Record, bits: Bits, T: int, about: Mapping[str, Any]) -> None:
    """Show the bound and its parts, write each term and their page, and put them into the results."""
    mean, half = interval(bits.total)
    parts = {
        "L_T": float(bits.prior.mean()),
        "L_t": float((bits.share[1:, None] * bits.terms[1:]).sum(0).mean()),
        "L_0": float(bits.terms[0].mean()),
    }
    path, rows = job.folder / "likelihood.csv", list(_rows(bits, T))
    written(path, rows)
    n, terms = len(bits.total), len(bits.share)
    about = {**about, "images": n, "terms": f"{terms} of {T}"}
    shown = [
        f"{mean:.4f}",
        words(mean, half),
        f"{parts['L_T']:.2e}",
        *(f"{parts[k]:.4f}" for k in ("L_t", "L_0")),
    ]
    numbers = (["bits/dim", "95 % interval", "L_T", "sum of L_t", "L_0"], [shown])
    picture = path.with_suffix(".html")
    write(picture, _page(bits, rows, about, numbers))
    record.results |= _mean(mean, half) | parts | {"n": n, "terms": terms, "csv": str(path)}
    record.results["curves"] = str(picture)
    table = Table(
        title=f"bits/dim of {n} {record.results['split']} images, {terms} terms", title_justify="left"
    )
    for column in numbers[0]:
        table.add_column(column)
    table.add_row(*shown)
    Console().print(table)
    say(f"each term: {near(path)}, {near(picture)}")


def _mean(mean: float, half: float | None) -> dict[str, float]:
    return {"bpd": mean} if half is None else {"bpd": mean, "bpd_half_width": half}


def _page(bits: Bits, rows: Sequence[Row], about: Mapping[str, Any], numbers: Any) -> str:
    learned = not (bits.terms.equal(bits.small) or bits.terms.equal(bits.large))
    names = {k: name for k, name in HEADS.items() if learned or k != "bits_per_dim"}
    errors = len(bits.total) > 1
    lines = [
        Line(name, [(r["t"] or 0.0, _bar(r[k], r[ERRORS[k]])) for r in rows]) for k, name in names.items()
    ]
    title = "Where the bits go: the variational bound, term by term"
    metric = "bits/dim of a step" + (", with one standard error" if errors else "")
    columns = [key for name in names for key in (name, ERRORS[name])[: 1 + errors]]
    head = ["t", *(names.get(key, "±") for key in columns)]
    cells = [[row[key] for key in ("t", *columns)] for row in rows]
    return page(title, about, numbers, curves(metric, lines, "t", marks=False), (head, cells))


def _bar(mean: float | None, error: float | None) -> list[float]:
    mean = mean or 0.0
    return [mean] if error is None else [mean - error, mean, mean + error]


def _rows(bits: Bits, T: int) -> Iterator[Row]:
    """Yield for each term t its mean over images, its standard error, and the same with fixed variances."""
    t = bits.step.double().mean(1) / T
    of = {"bits_per_dim": bits.terms, "fixed_small": bits.small, "fixed_large": bits.large}
    for k in range(len(t)):
        means = {name: float(values[k].mean()) for name, values in of.items()}
        errors = {ERRORS[name]: _error(values[k]) for name, values in of.items()}
        order = ("bits_per_dim", "standard_error", "fixed_small", "fixed_large")
        every = {"t": float(t[k]), **means, **errors}
        yield {name: every[name] for name in ("t", *order)} | errors


def _error(values: Tensor) -> float | None:
    return float(values.std()) / len(values) ** 0.5 if len(values) > 1 else None


def written(path: Path, rows: Sequence[Mapping[str, float | None]]) -> None:
    """Write rows as CSV; what is not known is empty."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows({k: "" if v is None else f"{v:.8g}" for k, v in row.items()} for row in rows)
    write(path, text.getvalue())
