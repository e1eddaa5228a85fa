"""Suggest what was probably meant, and how a value is typed."""

import difflib
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from diffexp.config.argv import command
from diffexp.errors import ConfigError


def nearest(name: str, known: Sequence[str]) -> str | None:
    """Return the known name most like `name`, if any is like it."""
    matches = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return matches[0] if matches else None


def path_of(text: str | Path, where: str) -> Path:
    """Return a path that was typed, with ~. Raises ConfigError for what can be none."""
    try:
        path = Path(str(text)).expanduser()
        path.exists()
    except (ValueError, RuntimeError, OSError) as error:
        raise ConfigError(f"{str(text)!r} is no path: {error}", where, "give the path of a folder") from error
    return path


def override(key: str, value: object) -> str:
    """Return key=value as Hydra reads it back, with quotes where the value needs them."""
    text = str(value)
    if re.fullmatch(r"[\w./:@%+-]+", text, re.ASCII):
        return f"{key}={text}"
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"{key}='{escaped}'"


def goes_on(folder: Path) -> str:
    """Return the command line that goes on with the run in a folder, for a shell to read."""
    return shlex.join([*command(), resume_of(folder)])  # it is read as it is, by us


def resume_of(folder: str | Path) -> str:
    """Return what goes on with the run in a folder; one that is called auto or never is no mode."""
    return f"resume={'./' if str(folder) in ('auto', 'never') else ''}{folder}"
