"""Notices that are no errors: a line on the screen and in the log."""

import logging
import os
import sys

from diffexp.errors import printable

_log = logging.getLogger(__name__)
_said: set[str] = set()
warned: list[str] = []
"""What was warned of in this process."""


def say(text: object) -> None:
    """Print a line for the user, without what would move a terminal."""
    print(printable(text), flush=True)


def chosen(text: str) -> None:
    """Say once in a process, on the first rank alone, what was chosen where the person left it to us."""
    text = printable(f"chosen: {text}").replace("\n", "\\n")
    if _first() and text not in _said:
        print(text, flush=True)
    _said.add(text)


def warn(text: str) -> None:
    """Say a line on stderr, once in a process and on the first rank alone; stdout is for results."""
    text = printable(text).replace("\n", "\\n")
    if logging.getLogger().handlers:  # else Python would print it as well
        _log.warning("%s", text)
    if _first() and text not in _said:
        print(f"warning: {text}", file=sys.stderr, flush=True)
        warned.append(text)
    _said.add(text)


def _first() -> bool:
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK"))
