"""Corrections for the number of comparisons (Holm 1979)."""

from collections.abc import Sequence


def holm(values: Sequence[float | None]) -> list[float | None]:
    """Return each p-value corrected for all of them, so that any false verdict among true nulls has at most
    the level's probability; None stays, and does not count.
    """
    known = sorted((p, i) for i, p in enumerate(values) if p is not None)
    out, largest = list[float | None](values), 0.0
    for rank, (p, i) in enumerate(known):
        out[i] = largest = max(largest, min(1.0, (len(known) - rank) * p))
    return out
