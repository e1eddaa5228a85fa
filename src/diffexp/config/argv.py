"""The command line of this process, where others read it: Hydra, and Lightning, which starts ranks by it."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = (["python", "run.py"], ["python", "-m", "diffexp"], ["diffexp"])
_DIR = ("-cd", "--config-dir")


@contextmanager
def command_line(typed: Sequence[str], begun: Sequence[str] | None = None) -> Iterator[None]:
    """Let sys.argv be what is typed, until the end.

    begun: how it begins, by `begins`, in the process of a job. What was run there as a module (python -m) is
    of whoever made the process, and Lightning would start that again.
    """
    main = sys.modules["__main__"]
    before, spec = sys.argv, main.__spec__
    sys.argv = [*(begun or sys.argv[:1]), *typed]
    if begun:
        main.__spec__ = None
    try:
        yield
    finally:
        sys.argv, main.__spec__ = before, spec


def begins() -> list[str]:
    """Return how the command line of each job of this sweep begins: the program, and where options are."""
    given = config_dir(sys.argv[1:])
    return [str(Path(sys.argv[0]).resolve()), *(["-cd", str(given)] if given else [])]


def config_dir(typed: Sequence[str]) -> Path | None:
    """Return the folder of options that was typed with --config-dir, absolute; None where none was."""
    for word, following in zip(typed, [*typed[1:], ""], strict=False):
        if word in _DIR and following:
            return Path(following).absolute()
        name, equal, value = word.partition("=")
        if equal and name in _DIR:
            return Path(value).absolute()
    return None


def command(here: bool = True) -> list[str]:
    """Return the words with which the person began this program, for lines to paste; here: where it runs now,
    and not in what others read, where the path of a clone says nothing.
    """
    path = Path(sys.argv[0])
    if path.name == "diffexp":
        return ["diffexp"]
    if path.parts[-2:] == ("diffexp", "__main__.py"):
        return ["python", "-m", "diffexp"]
    if here and path.name == "run.py" and path.is_file() and not _is_here(path):
        return ["python", sys.argv[0]]
    return ["python", "run.py"]


def _is_here(path: Path) -> bool:
    return os.path.realpath(path) == os.path.realpath(path.name)
