"""Short names for the values of a table: a job of another sweep is called by what varied there."""

from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from diffexp.errors import DiffexpError
from diffexp.run.plan import read_plan

JOBS = "jobs"


@lru_cache(maxsize=1024)
def label(value: str) -> str:
    """Return what varied in the sweep whose job the folder `value` is, "channels=4 kl=1e-6"; any other value
    as it is.
    """
    job = Path(value)
    if job.parent.name != JOBS:
        return value
    try:
        plan = read_plan(job.parent.parent)
    except (DiffexpError, OSError, ValueError):
        return value
    cells = [cell["values"] for cell in plan["cells"] if cell["folder"] == f"{JOBS}/{job.name}"]
    parts = [f"{key.rpartition('.')[2]}={cells[0][key]}" for key in plan["varying"]] if cells else []
    return " ".join(parts) or value


def short(key: str, value: str | None, of: int) -> str:
    """Return a value, with the last part of its key where there are several; a job of another sweep has
    names of keys already.
    """
    value = "" if value is None else value
    called = label(value)
    return called if of == 1 or called != value else f"{key.rpartition('.')[2]}={value}"


def named(values: Mapping[str, str | None]) -> str:
    """Return the name of a cell by the values of its keys: "eta=0 steps=10"; of keys that end alike with as
    much of each as tells them apart.
    """
    ends = Counter(key.rpartition(".")[2] for key in values)
    parts = list[str]()
    for key, value in values.items():
        end, called = key.rpartition(".")[2], label(value or "")
        plain = f"{end if ends[end] == 1 else key}={value or ''}"
        parts.append(called if called != (value or "") else plain)
    return " ".join(parts)
