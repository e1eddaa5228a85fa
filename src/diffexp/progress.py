"""Progress of long work: a bar on a terminal, or calls of a listener in its place."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from diffexp.errors import printable

Listener = Callable[[str, int, int], None]
"""Called with (text, done, total)."""
_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Send all progress to a listener meanwhile, as in the processes of a sweep."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def listener() -> Listener | None:
    """Return the listener, or None where the screen shows the progress."""
    return _listener.get()


class Rate(ProgressColumn):
    """A column with the number of images, or another unit, a second."""

    def __init__(self, unit: str = "images") -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Any) -> Text:
        return Text(f"{task.speed:,.0f} {self.unit}/s" if task.speed else "")


def bar(*before: ProgressColumn, console: Console | None = None, show: bool = True) -> Progress:
    """Return a bar of counts, their rate and the time left, which goes away when it is done."""
    columns = (*before, BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not show)


@contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar of images done: call what this yields with (done, total). Nothing without a terminal."""
    heard = listener()
    if heard is not None:
        yield lambda done, total: heard(what, done, total)
        return
    if not sys.stdout.isatty():
        yield lambda done, total: None
        return
    with bar(TextColumn("{task.description}", markup=False)) as shown:
        task = shown.add_task(printable(what), total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)
