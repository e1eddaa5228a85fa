"""The errors of diffexp, each with its exit code. A message is three short lines: what, where, what to do."""

import errno
import unicodedata
from collections.abc import Sequence
from typing import Any

from diffexp.redact import redact_text


def printable(text: object) -> str:
    """Return text that does nothing to a terminal: control characters, escape sequences and marks that change
    the direction of writing are spelled out (\\x1b, \\u202e); line feeds and tabs stay.
    """
    return "".join(_spelled(c) if c not in "\n\t" else c for c in str(text))


def _spelled(letter: str) -> str:
    if letter.isprintable() or unicodedata.category(letter) == "Zs" or letter in "\u200c\u200d":
        return letter
    return letter.encode("unicode_escape").decode()


class DiffexpError(Exception):
    """Base of the errors that a user can mend; shown without a traceback.

    `what` says what is wrong, `where` names the key or the file, `do` what to type or change instead.
    """

    code = 1

    def __init__(self, what: str, where: str = "", do: str = "") -> None:
        what, where, do = (redact_text(printable(text)) for text in (what, where, do))
        self.what, self.where, self.do = what, where, do
        lines = (what, where and f"  at: {where}", do and f"  do: {do}")
        super().__init__("\n".join(line for line in lines if line))


class ConfigError(DiffexpError, ValueError):
    """Wrong usage or configuration. parts: the problems, where there are several."""

    code = 2
    parts: Sequence["ConfigError"] = ()


class Problems:
    """Several checks, of which each is made whatever the others say:

    problems = Problems()
    with problems:
        ...                     # what raises ConfigError here is kept
    problems.all_at_once()      # and raised here, with the others
    """

    def __init__(self) -> None:
        self.kept: list[ConfigError] = []

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        if isinstance(error, ConfigError):
            self.kept += error.parts or [error]
        return isinstance(error, ConfigError)

    def all_at_once(self) -> None:
        """Raise what was kept as one ConfigError; return where there is nothing."""
        all_at_once(self.kept)


def all_at_once(problems: Sequence[ConfigError]) -> None:
    """Raise the problems as one ConfigError; return where there are none."""
    unique = list({str(p): p for p in problems}.values())
    if len(unique) == 1:
        raise unique[0]
    if unique:
        error = ConfigError(f"{len(unique)} problems in the configuration\n" + "\n".join(map(str, unique)))
        error.parts = unique
        raise error


def check_at_most(most: int, where: str, **values: float) -> None:
    """Raise ConfigError for a number so large that the work would never end, or take all memory."""
    for name, value in values.items():
        if value > most:
            raise ConfigError(f"{name}={value}", f"{where}.{name}", f"give at most {most:,}")


class DataError(DiffexpError):
    """A data set, a checkpoint or a weights file is missing or damaged."""

    code = 3


class DivergedError(DiffexpError):
    """The loss is no longer finite. details: step, images, their times and losses, where that is known."""

    code = 4
    details: dict[str, Any] | None = None


class Interrupted(DiffexpError):
    """Asked to stop; what was done is saved, and the same command goes on."""

    code = 75


class ResourceError(DiffexpError):
    """Out of disk or memory, or a folder that cannot be written."""

    code = 5


def as_ours(error: BaseException) -> DiffexpError | None:
    """Return the error of a full disk, or of too little memory outside of training, which has its own; None
    for another error. torch's error of memory has no type on a CPU.
    """
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        do = "free some disk, and type the same command again"
        return ResourceError(f"the disk is full: {error.strerror}", str(error.filename or ""), do)
    text = str(error).splitlines()[0] if str(error) else "no memory"
    kinds = [kind.__name__ for kind in type(error).__mro__]
    if not {"MemoryError", "OutOfMemoryError"} & set(kinds) and "can't allocate memory" not in text:
        return None
    do = "lower evaluator.batch_size, metrics.n or task.n, or take a smaller network"
    return ResourceError(f"out of memory: {text[:200]}", "evaluator.batch_size", do)
