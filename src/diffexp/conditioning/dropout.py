"""Dropping conditions in training, on any number of ranks."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from diffexp.condition import Asked, Condition
from diffexp.conditioning.conditioning import Conditioning
from diffexp.errors import ConfigError


def dropped(
    conditioning: Conditioning, asked: Asked, generator: torch.Generator, rank: tuple[int, int] = (0, 1)
) -> Condition | None:
    """Return the condition of the images of rank (r, ranks), the null one where it is dropped.

    Which are dropped is drawn for the images of all ranks, so that it does not depend on their number. Raises
    ConfigError for a conditioning that does not say it of each.
    """
    n = len(asked)
    cond, keep = conditioning.encode(asked), conditioning.keep(n * rank[1], generator)
    if cond is None or keep is None:
        return cond
    null = conditioning.null(replace(asked, size=None))  # guidance keeps the size, and dropping drops it
    if null is None:
        return cond
    if not isinstance(keep, Mapping):
        return cond.where(_mine(keep, n, rank), null)
    told = {name: each for name, each in keep.items() if getattr(cond, name) is not None}
    mixed = {name: cond.where(_mine(each, n, rank), null) for name, each in told.items()}
    return replace(cond, **{name: getattr(part, name) for name, part in mixed.items()})


def _mine(keep: Tensor, n: int, rank: tuple[int, int]) -> Tensor:
    """Return the part of this rank. Raises ConfigError for what is not of all ranks."""
    if keep.shape != (n * rank[1],):
        what = f"keep({n * rank[1]}, ...) returns a shape of {tuple(keep.shape)}"
        raise ConfigError(what, "conditioning", f"let it return bool ({n * rank[1]},), or None")
    return keep[rank[0] * n : (rank[0] + 1) * n]
