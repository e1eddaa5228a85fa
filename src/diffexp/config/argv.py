"""The command line of this process, where others read it: Hydra, and Lightning, which starts ranks by it."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


@contextmanager
def command_line(typed: Sequence[str], command: str | None = None) -> Iterator[None]:
    """Let sys.argv be this command and what is typed for it, until the end."""
    before, sys.argv = sys.argv, [command or sys.argv[0], *typed]
    try:
        yield
    finally:
        sys.argv = before
