"""Short names for the values of a table: a job of another sweep is called by what varied there."""

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
    """Return a value, with the last part of its key where there are several."""
    value = "" if value is None else label(value)
    return value if of == 1 else f"{key.rpartition('.')[2]}={value}"
