"""The summary on the screen at the end of a run: its values, where things are, what to type next."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from diffexp.escape import plain
from diffexp.notice import say

if TYPE_CHECKING:  # which needs torch, and the launcher of a sweep does not
    from diffexp.metrics.evaluator import Evaluation


def near(path: Path) -> Path:
    """Return the path relative to the working directory, where it lies below that."""
    try:
        return path.absolute().relative_to(Path.cwd())
    except ValueError:
        return path


def summary(
    folder: Path,
    picture: Path,
    results: Mapping[str, Any],
    evaluations: Mapping[float, "Evaluation"],
    lines: Sequence[str] = (),
    beside: tuple[Mapping[str, float], Mapping[str, Any]] = ({}, {}),
) -> None:
    """Print the values with their cards, where things are, and the lines to type next. beside: values and
    cards that belong to no guidance scale.
    """
    table = values_table(
        (f"{key}, guidance {scale:g}" if len(evaluations) > 1 else key, value, result.cards[key])
        for scale, result in evaluations.items()
        for key, value in result.values.items()
    )
    for row in ((key, value, beside[1][key]) for key, value in beside[0].items()):
        add_value(table, *row)
    for key in ("train/loss", "val/loss"):
        if key in results:
            table.add_row(key, f"{results[key]:.4f}", "mean squared error of the network's output")
    for scale, result in evaluations.items():
        name = f"sampling, guidance {scale:g}" if len(evaluations) > 1 else "sampling"
        how = f"{result.nfe} network calls an image, {result.protocol['sampler']}"
        table.add_row(name, f"{result.seconds:.1f} s", plain(how))
    if "train_seconds" in results:
        table.add_row("training", f"{results['train_seconds']:.0f} s", "with the evaluations in between")
    Console().print(table)
    say(f"picture: {near(picture)}   everything: {near(folder)}/")
    if lines:
        say("next:")
    for line in lines:
        say(f"  {line}")


def values_table(rows: Iterable[tuple[str, float, Mapping[str, Any]]]) -> Table:
    """Return a table of rows (name, value, card)."""
    table = Table(title="result", title_justify="left")
    for column in ("metric", "value", "how it was made"):
        table.add_column(column, overflow="fold")
    for row in rows:
        add_value(table, *row)
    return table


def add_value(table: Table, name: str, value: float, card: Mapping[str, Any]) -> None:
    """Add a row to a table of values."""
    error = card.get("standard_error")
    shown = f"{value:.4g}" + (f" ± {error:.2g}" if error else "")
    table.add_row(plain(name), shown, plain(_card(card)))


def _card(card: Mapping[str, Any]) -> str:
    parts = [f"N={card['n']}"] if "n" in card else []
    if "floor" in card:
        parts += [f"floor {card['floor']:.2f} (real against real, N={card['floor_n']})"]
    parts += [f"{k} {card[k]}" for k in ("extractor", "judge", "split", "autoencoder") if k in card]
    if "ceiling" in card:
        known = isinstance(value := card["ceiling"], float)
        parts += [f"of its reconstructions {value:.4g}" if known else "of its reconstructions not measured"]
    return ", ".join(parts) + (f"; {card['note']}" if card.get("note") else "")
