"""runs/latest: a link to the training, or the sweep of trainings, that was begun last.

A run that reads a run does not take the link, so that task.ckpt=runs/latest means the same when it is typed
again. What is typed is put in its place at once: the records of a run name a folder that stays what it is.
"""

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from diffexp.errors import printable
from diffexp.files import point

RUNS, LATEST = "runs", "runs/latest"
_CELL = re.compile(r"jobs/[0-9a-f]{12}$")  # of a sweep, whose own folder has the link


def point_to(folder: Path) -> None:
    """Have runs/latest of the working directory lead to a folder below runs/; do nothing for any other."""
    path = os.path.relpath(os.path.abspath(folder), os.path.abspath(RUNS))
    if path.split("/")[0] in (".", "..", "latest") or _CELL.search(path):
        return
    point(Path(LATEST), path)


def with_latest(typed: Sequence[str]) -> list[str]:
    """Return what was typed, with the folder that runs/latest leads to in its place, and say which it is."""
    link = Path(LATEST)
    if not link.is_symlink() or not link.is_dir():
        return list(typed)
    target = os.path.normpath(Path(RUNS) / os.readlink(link))
    made = [_replaced(text, target) for text in typed]
    if made != list(typed):
        print(printable(f"{LATEST} is {target}"), file=sys.stderr, flush=True)
    return made


def _replaced(text: str, target: str) -> str:
    key, equal, value = text.partition("=")
    if not equal or not re.fullmatch(r"[\w./:@%+-]+", target, re.ASCII):  # else Hydra reads the link as well
        return text
    return key + equal + re.sub(rf"(?<![\w./-])(?:\./)?{LATEST}(?![\w.-])", lambda _: target, value)
