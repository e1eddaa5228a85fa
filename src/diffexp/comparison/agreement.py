"""How far voters agree: Krippendorff's alpha (Krippendorff 2011, Computing Krippendorff's Alpha-Reliability).

    alpha = 1 − (disagreement seen within units) / (disagreement of values drawn from all units)

1 is agreement, 0 what chance would give. Any number of voters, and answers may be missing.
"""

from typing import Literal

import numpy as np

Scale = Literal["nominal", "ordinal", "interval"]


def alpha(values: np.ndarray, scale: Scale = "ordinal") -> float:
    """Return alpha of values, float64 (voters, units), NaN where there is no answer.

    NaN where no unit has two answers, or all of these are the same, for then chance gives nothing else.
    """
    kinds = np.unique(values[np.isfinite(values)])
    # of each unit how often each value was given; a unit with one answer has nothing to be compared with
    counts = (values[None] == kinds[:, None, None]).sum(1).T.astype(np.float64)
    counts = counts[counts.sum(1) > 1]
    each = counts.sum(1, keepdims=True)
    seen = (counts / np.where(each > 1, each - 1, 1)).T @ counts
    seen -= np.diag((counts / np.where(each > 1, each - 1, 1)).sum(0))
    marginal = counts.sum(0)
    expected = (np.outer(marginal, marginal) - np.diag(marginal)) / max(marginal.sum() - 1, 1)
    apart = _apart(kinds, marginal, scale)
    chance = (expected * apart).sum()
    return float(1 - (seen * apart).sum() / chance) if chance > 0 else float("nan")


def _apart(kinds: np.ndarray, marginal: np.ndarray, scale: Scale) -> np.ndarray:
    """Return the squared distances of the values."""
    if scale == "nominal":
        return 1.0 - np.eye(len(kinds))
    if scale == "interval":
        return (kinds[:, None] - kinds) ** 2
    rank = marginal.cumsum() - marginal / 2  # how many lie below, half of its own
    return (rank[:, None] - rank) ** 2


def same(values: np.ndarray) -> float:
    """Return the share of the pairs of answers to one unit that are the same; NaN where there are none."""
    equal = total = 0
    for unit in values.T:
        given = unit[np.isfinite(unit)]
        _, counts = np.unique(given, return_counts=True)
        equal += int((counts * (counts - 1)).sum())
        total += len(given) * (len(given) - 1)
    return equal / total if total else float("nan")
