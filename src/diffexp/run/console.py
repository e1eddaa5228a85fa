"""The summary on the screen at the end of a run: its values, where things are, what to type next."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from diffexp.config.suggest import override
from diffexp.escape import plain
from diffexp.notice import say

if TYPE_CHECKING:  # which needs torch, and the launcher of a sweep does not
    from diffexp.metrics.evaluator import Evaluation
    from diffexp.model.model import Model


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
    model: "Model",
    plugins: Sequence[str] = (),
) -> None:
    """Print the values with their cards, where things are, and what to type next for this model.

    plugins: the packages that were typed for it.
    """
    table = values_table(
        (f"{key}, guidance {scale:g}" if len(evaluations) > 1 else key, value, result.cards[key])
        for scale, result in evaluations.items()
        for key, value in result.values.items()
    )
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
    say("next:")
    for line in _next(folder, results, model, plugins):
        say(f"  {line}")


def values_table(rows: Iterable[tuple[str, float, Mapping[str, Any]]]) -> Table:
    """Return a table of rows (name, value, card)."""
    table = Table(title="result", title_justify="left")
    for column in ("metric", "value", "how it was made"):
        table.add_column(column, overflow="fold")
    for name, value, card in rows:
        error = card.get("standard_error")
        shown = f"{value:.4g}" + (f" ± {error:.2g}" if error else "")
        table.add_row(plain(name), shown, plain(_card(card)))
    return table


def _card(card: Mapping[str, Any]) -> str:
    parts = [f"N={card['n']}"] if "n" in card else []
    if "floor" in card:
        parts += [f"floor {card['floor']:.2f} (real against real, N={card['floor_n']})"]
    parts += [f"{k} {card[k]}" for k in ("extractor", "judge", "split") if k in card]
    return ", ".join(parts) + (f"; {card['note']}" if card.get("note") else "")


def _next(folder: Path, results: Mapping[str, Any], model: "Model", plugins: Sequence[str]) -> list[str]:
    run = shlex.quote(override("task.ckpt", near(folder) if "train_seconds" in results else "RUN"))
    if plugins:
        run += f" plugins=[{','.join(plugins)}]"
    asks, sample = model.conditioning.asks, f"python run.py task=sample {run} task.n=16"
    if "label" in asks and model.class_names:
        sample += f" task.classes=[{min(3, len(model.class_names) - 1)}]"
    if "text" in asks:
        sample += " 'task.text=[a caption]'"
    return [
        f"{sample} guidance.scale=2" if model.guidable else sample,
        f"python run.py task=evaluate {run} sampler.steps=10 sampler.eta=1",
        "python run.py schedule=linear prediction=eps name=linear_eps",
    ]
