"""Processes that want the same file made: one makes it, the others wait."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def one_at_a_time(lock: Path) -> Iterator[None]:
    """After whoever is in it; at once where no lock can be had, as in a folder that is only read."""
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = lock.open("a")
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError:
        yield
        return
    with file:
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)  # those who wait have it open, and will find what was made
