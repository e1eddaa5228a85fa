"""Dropping conditions in training, on any number of ranks."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from diffexp.condition import Asked, Condition
from diffexp.conditioning.conditioning import Conditioning
from diffexp.errors import ConfigError
from diffexp.randomness import of_rank


def dropped(
    conditioning: Conditioning,
    asked: Asked,
    generator: torch.Generator,
    rank: tuple[int, int] = (0, 1),
    real: int | None = None,
) -> Condition | None:
    """Return the condition of the images of rank (r, ranks), the null one where it is dropped.

    Which are dropped is drawn for the images of all ranks, so that it does not depend on their number. real:
    of so many, where others fill the batch up (Batch). Raises ConfigError for a conditioning that does not
    say it of each.
    """
    n, count = len(asked), real or len(asked) * rank[1]
    cond, keep = conditioning.encode(asked), conditioning.keep(count, generator)
    if cond is None or keep is None:
        return cond
    null = conditioning.null(replace(asked, size=None))  # guidance keeps the size, and dropping drops it
    if null is None:
        return cond
    if not isinstance(keep, Mapping):
        return cond.where(_mine(keep, n, count, rank), null)
    told = {name: each for name, each in keep.items() if getattr(cond, name) is not None}
    mixed = {name: cond.where(_mine(each, n, count, rank), null) for name, each in told.items()}
    return replace(cond, **{name: getattr(part, name) for name, part in mixed.items()})


def _mine(keep: Tensor, n: int, count: int, rank: tuple[int, int]) -> Tensor:
    """Return the part of this rank. Raises ConfigError for what is not of all ranks."""
    if keep.shape != (count,):
        what = f"keep({count}, ...) returns a shape of {tuple(keep.shape)}"
        raise ConfigError(what, "conditioning", f"let it return bool ({count},), or None")
    return of_rank(keep, n, rank)
