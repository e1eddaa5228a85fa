"""What is shown of long work: a bar on a terminal, or news for whoever listens in its place."""

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
    """Have all that would be shown meanwhile told to a listener, as in the processes of a sweep."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def listener() -> Listener | None:
    """Return who listens, or None where the screen is to show it."""
    return _listener.get()


class Rate(ProgressColumn):
    """How many a second."""

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
