"""Dropping conditions in training, on any number of ranks."""

import torch

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
    if keep.shape != (n * rank[1],):
        what = f"keep({n * rank[1]}, ...) returns a shape of {tuple(keep.shape)}"
        raise ConfigError(what, "conditioning", f"let it return bool ({n * rank[1]},), or None")
    null = conditioning.null(asked)
    return cond if null is None else cond.where(keep[rank[0] * n : (rank[0] + 1) * n], null)
