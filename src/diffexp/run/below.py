"""The folders of runs and sweeps that lie in a folder, which may be a stranger's."""

import os
from collections.abc import Iterator
from pathlib import Path

from diffexp.run.results import PLAN

DEEPEST = 6  # folders below the one that is looked through


def below(folder: Path, deep: int = DEEPEST) -> Iterator[Path]:
    """Yield the folders of runs and sweeps in a folder, or itself if it is one; no link is followed."""
    try:
        with os.scandir(folder) as entries:
            inside = sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return
    names = {entry.name for entry in inside}
    if names & {PLAN, "run.json"}:
        yield folder
    elif deep:
        for entry in inside:
            if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
                yield from below(folder / entry.name, deep - 1)
