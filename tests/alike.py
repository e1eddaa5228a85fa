"""Cases that are alike: some of them in the quick tests, all with -m slow."""

from collections.abc import Iterable
from typing import Any

import pytest


def alike(values: Iterable[Any], kept: Iterable[str]) -> list[Any]:
    """Return parameters, of which those whose name is not in `kept` are slow. Each name has to be one."""
    given, quick = {getattr(value, "__name__", str(value)): value for value in values}, set(kept)
    assert quick <= set(given), quick - set(given)
    slow = pytest.mark.slow
    return [pytest.param(v, id=name, marks=() if name in quick else slow) for name, v in given.items()]
