"""What is shown on the screen: counts while images are made, and the table at the end."""

import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from diffexp.errors import printable
from diffexp.experiment.names import override
from diffexp.experiment.quote import plain
from diffexp.notice import say
from diffexp.training import listener

if TYPE_CHECKING:  # which needs torch, and the launcher of a sweep does not
    from diffexp.metrics.evaluator import Evaluation


def near(path: Path) -> Path:
    """The path from here, where that is shorter."""
    try:
        return path.absolute().relative_to(Path.cwd())
    except ValueError:
        return path


@contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar of images done; one line at the end where there is no terminal."""
    heard = listener.told
    if heard is not None:
        yield lambda done, total: heard(what, done, total)
        return
    if not sys.stdout.isatty():
        yield lambda done, total: None
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, transient=True) as bar:
        task = bar.add_task(printable(what), total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


class _Rate(TextColumn):
    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: Any) -> Any:
        from rich.text import Text

        return Text(f"{task.speed:,.0f} images/s" if task.speed else "")


def summary(
    folder: Path, picture: Path, results: Mapping[str, Any], found: Mapping[float, "Evaluation"]
) -> None:
    """Values with their cards, where things are, and what to type next."""
    table = values_table(
        (f"{key}, guidance {scale:g}" if len(found) > 1 else key, value, result.cards[key])
        for scale, result in found.items()
        for key, value in result.values.items()
    )
    for key in ("train/loss", "val/loss"):
        if key in results:
            table.add_row(key, f"{results[key]:.4f}", "mean squared error of the network's output")
    for scale, result in found.items():
        name = f"sampling, guidance {scale:g}" if len(found) > 1 else "sampling"
        how = f"{result.nfe} network calls an image, {result.protocol['sampler']}"
        table.add_row(name, f"{result.seconds:.1f} s", plain(how))
    if "train_seconds" in results:
        table.add_row("training", f"{results['train_seconds']:.0f} s", "with the evaluations in between")
    Console().print(table)
    say(f"picture: {near(picture)}   everything: {near(folder)}/")
    say("next:")
    for line in _next(folder, results):
        say(f"  {line}")


def values_table(rows: Iterable[tuple[str, float, Mapping[str, Any]]]) -> Table:
    """Of (name, value, card)."""
    table = Table(title="result", title_justify="left")
    for column in ("metric", "value", "how it was made"):
        table.add_column(column, overflow="fold")
    for name, value, card in rows:
        error = card.get("standard_error")
        told = f"{value:.4g}" + (f" ± {error:.2g}" if error else "")
        table.add_row(plain(name), told, plain(_card(card)))
    return table


def _card(card: Mapping[str, Any]) -> str:
    told = [f"N={card['n']}"] if "n" in card else []
    if "floor" in card:
        told += [f"floor {card['floor']:.2f} (real against real, N={card['floor_n']})"]
    told += [f"{k} {card[k]}" for k in ("extractor", "judge", "split") if k in card]
    return ", ".join(told) + (f"; {card['note']}" if card.get("note") else "")


def _next(folder: Path, results: Mapping[str, Any]) -> list[str]:
    run = shlex.quote(override("task.ckpt", near(folder) if "train_seconds" in results else "RUN"))
    return [
        f"python run.py task=sample {run} task.n=16 task.classes=[3] guidance.scale=2",
        f"python run.py task=evaluate {run} sampler.steps=10 sampler.eta=1",
        "python run.py schedule=linear prediction=eps name=linear_eps",
    ]
