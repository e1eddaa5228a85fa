"""Processes that want the same file made: one makes it, the others wait."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from diffexp.errors import DiffexpError
from diffexp.locks import locked


@contextmanager
def one_at_a_time(lock: Path) -> Iterator[None]:
    """Wait for whoever is in it; go on at once where no lock can be had, as in a folder that is only read."""
    with ExitStack() as held:
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            held.enter_context(locked(lock, wait=True))
        except (OSError, DiffexpError):
            pass
        else:
            # before it is given free: those who wait have it open, and will find what was made
            held.callback(lock.unlink, missing_ok=True)
        yield
