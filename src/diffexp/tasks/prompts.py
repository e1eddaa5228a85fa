"""The prompts of task=sample: typed, or a line each of a file."""

import os
from collections.abc import Sequence

from diffexp.config.suggest import path_of
from diffexp.errors import ConfigError, DataError
from diffexp.files import read_small

MOST_BYTES = 64 << 20


def prompts(given: Sequence[str] | str | None) -> tuple[str, ...] | None:
    """Return the prompts of a list, of a text, or of the file that a text which ends in .txt names; None for
    None. Raises ConfigError, DataError.

    In a list nothing is taken for a path. Lines of a file that are empty are left out.
    """
    if given is None:
        return None
    if not isinstance(given, str):
        return tuple(given)
    if not given.lower().endswith(".txt"):
        if os.path.isfile(given):
            do = f"rename it to {given}.txt, or type 'task.prompts=[\"...\"]'"
            raise ConfigError("this is a file, and one of prompts ends in .txt", "task.prompts", do)
        return (given,)
    path = path_of(given, "task.prompts")
    try:
        text = read_small(path, MOST_BYTES).decode("utf-8-sig")
    except (OSError, UnicodeError) as error:
        do = "give a text file in UTF-8 with a prompt a line, or type 'task.prompts=[\"...\"]'"
        raise DataError(f"the prompts cannot be read: {error}", str(path), do) from error
    lines = tuple(line for line in (row.strip() for row in text.split("\n")) if line)
    if not lines:
        raise ConfigError("there is no prompt in this file", str(path), "write one a line")
    return lines
