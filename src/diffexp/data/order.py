"""The order of the images, as a function: batch number g of training with a seed is

    epoch = g div n,  images = permutation(seed, epoch)[(g mod n)·B : (g mod n + 1)·B],  n = N div B

so a run that goes on after g batches sees batch g next, whatever happened before. B is the batch of all ranks
together; rank r of W takes the r-th W-th part of it, so the order does not depend on the number of ranks.
The last N mod B images of a permutation wait for another epoch.

Up to MOST images the permutation is sorted random numbers, and lies in memory; of more it is computed at the
places that are asked for (permutation.py). A run that began before there was the second one keeps the first.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from diffexp.data.permutation import permuted
from diffexp.errors import ConfigError
from diffexp.randomness import keys

MOST = 1_000_000  # images whose permutation is sorted
Kind = Literal["sorted", "computed"]


def kind_of(count: int) -> Kind:
    """Return how the permutation of so many images is made in a run that begins now."""
    return "sorted" if count <= MOST else "computed"


@lru_cache(maxsize=2)
def permutation(seed: int, epoch: int, count: int) -> Tensor:
    """Return the numbers 0..count-1 in the order of this epoch, int64."""
    return keys(seed, "order", epoch, index=torch.arange(count)).argsort(stable=True)


def flips(seed: int, epoch: int, index: Tensor) -> Tensor:
    """Return which images are mirrored in this epoch, with probability 1/2: bool, shape of `index`."""
    return keys(seed, "flip", epoch, index=index) % 2 == 1


def check_shared(count: int, batch_size: int, world: int) -> None:
    """Raise ConfigError where so many images make no batch, or ranks cannot share it."""
    if batch_size > count:
        raise ConfigError(
            f"a batch of {batch_size} is more than the {count} training images",
            "loader.batch_size",
            f"type loader.batch_size={count} or less",
        )
    if batch_size % world:
        less = max(batch_size // world, 1) * world
        raise ConfigError(
            f"a batch of {batch_size} cannot be shared equally by {world} ranks",
            "loader.batch_size",
            f"type loader.batch_size={less}",
        )


@dataclass(frozen=True)
class TrainOrder:
    """The batches of training; `count` images, `batch_size` for all ranks together. kind: of the permutation,
    None for that of a run that begins now. Raises ConfigError.
    """

    count: int
    batch_size: int
    seed: int = 0
    rank: int = 0
    world: int = 1
    kind: Kind | None = None

    def __post_init__(self) -> None:
        check_shared(self.count, self.batch_size, self.world)

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return self.count // self.batch_size

    def batch(self, number: int) -> tuple[int, Tensor]:
        """Return the epoch of batch `number` (from the start of training), and this rank's images, int64."""
        epoch, turn = divmod(number, len(self))
        share = self.batch_size // self.world
        start = turn * self.batch_size + self.rank * share
        if (self.kind or kind_of(self.count)) == "sorted":
            return epoch, permutation(self.seed, epoch, self.count)[start : start + share]
        place = torch.arange(start, start + share)
        return epoch, permuted(self.seed, "order", epoch, count=self.count, place=place)

    def weight(self, number: int) -> Tensor | None:
        """Return the weight of each of this rank's images in the loss, float32; None for the same."""
        return None


def in_turn(count: int, batch_size: int, rank: int = 0, world: int = 1) -> Iterator[Tensor]:
    """Yield the images 0..count-1 in batches, unshuffled; every rank has the same number of batches.

    A last batch with fewer images than ranks is left out, for no rank may have an empty one.
    """
    for start in range(0, count, batch_size):
        part = torch.arange(start, min(start + batch_size, count))
        if len(part) >= world:
            yield part.tensor_split(world)[rank]
