"""Processes that want the same file made: one makes it, the others wait."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
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
            held.callback(_remove, lock)
        yield


def _remove(lock: Path) -> None:
    with suppress(OSError):  # left in a folder that cannot be written to any more, it hinders nobody
        lock.unlink()
