"""The minutes that there are, and what is left out or fails within them: a benchmark that is killed half-way,
or of which one contender breaks, has still measured the rest.
"""

import gc
import time
import traceback
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, TypeVar

import torch

T = TypeVar("T")
Rows = list[dict[str, Any]]


class Budget:
    """minutes: for everything, from now on; notes: what was left out or has failed, in words."""

    def __init__(self, minutes: float) -> None:
        self.begun, self.seconds = time.perf_counter(), 60 * minutes
        self.notes, self.failed = list[str](), list[str]()
        self.diffusers = find_spec("diffusers") is not None
        if not self.diffusers:
            self.note("diffusers is not installed: ours stands alone")

    def left(self, share: float = 1.0) -> float:
        """Return the seconds that are left of that share of the minutes, counted from the beginning."""
        return self.begun + share * self.seconds - time.perf_counter()

    def attempt(self, what: str, work: Callable[[], Any], share: float = 1.0) -> Any:
        """Return what the work gives; None, with a note, where its time is over or it fails."""
        if self.left(share) <= 0:
            self.note(f"{what}: left out, its share of the minutes was over")
            return None
        try:
            return work()
        except Exception as error:  # whatever it is, the others are to be measured
            traceback.print_exc()
            first = (str(error) or "no text").splitlines()[0][:200]
            self.failed.append(what)
            self.note(f"{what}: failed, {type(error).__name__}: {first}")
            return None

    def there(self, contenders: dict[str, T]) -> dict[str, T]:
        """Return those whose package is installed: ours, and diffusers' where that is."""
        if self.diffusers:
            return contenders
        return {name: value for name, value in contenders.items() if not name.startswith("diffusers")}

    def note(self, text: str) -> None:
        """Keep a note, and say it."""
        self.notes.append(text)
        print(f"  ({text})", flush=True)


def tidy() -> None:
    """Give back the memory of what is not used any more, and forget what was compiled."""
    torch.compiler.reset()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def compared(rows: Rows, base: str, key: str = "img_per_s", less: bool = False) -> Rows:
    """Put into each row its ratio to the row named `base`, None where there is none; less: where less is
    better, base / row.
    """
    of = next((row[key] for row in rows if row["name"] == base), None)
    for row in rows:
        row["ratio"] = None if of is None else of / row[key] if less else row[key] / of
    return rows
