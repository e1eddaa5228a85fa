"""The order of images in buckets, as a function: see order.py. In an epoch

    each bucket is cut, in the order of permutation(seed, epoch), into batches of B and a last one of the rest
    batch k of the epoch is that of number permutation(seed, epoch)(k) among those of all buckets

so every image is seen once, all batches are of one bucket, and buckets are mixed. Every epoch has as many
batches. A last batch has fewer images; on W ranks it is filled, up to a multiple of W, with images of its
bucket whose weight is 0, so that ranks have equal work and the loss is that of the others.
"""

import torch
from torch import Tensor

from diffexp.data.order import check_shared, permutation
from diffexp.randomness import keys


class BucketOrder:
    """The batches of training. bucket: int64 (N,), that of each image; batch_size: for all ranks together.

    fill: last batches are filled up to batch_size, with images of their bucket that count as the others do.
    Raises ConfigError.
    """

    def __init__(
        self,
        bucket: Tensor,
        batch_size: int,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        fill: bool = False,
    ) -> None:
        check_shared(len(bucket), batch_size, world)
        self.bucket, self.batch_size, self.seed, self.fill = bucket, batch_size, seed, fill
        self.rank, self.world = rank, world
        self.count = len(bucket)
        self.sizes = bucket.bincount()
        self.batches = (self.sizes + batch_size - 1) // batch_size  # of each bucket
        self._epoch: tuple[int, Tensor, Tensor] | None = None

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return int(self.batches.sum())

    def batch(self, number: int) -> tuple[int, Tensor]:
        """Return the epoch of batch `number` (from the start of training), and this rank's images, int64."""
        epoch, images, _ = self._batch(number)
        return epoch, images[self._mine(len(images))]

    def weight(self, number: int) -> Tensor | None:
        """Return the weight of each of this rank's images in the loss, float32; None for the same."""
        _, images, real = self._batch(number)
        if real == len(images):
            return None
        weight = torch.full((len(images),), len(images) / real)
        weight[real:] = 0
        return weight[self._mine(len(images))]

    def real(self, number: int) -> int | None:
        """Return how many images of all ranks have a weight, which are the first ones; None for all."""
        _, images, real = self._batch(number)
        return None if real == len(images) else real

    def _mine(self, count: int) -> slice:
        share = count // self.world
        return slice(self.rank * share, (self.rank + 1) * share)

    def _batch(self, number: int) -> tuple[int, Tensor, int]:
        """Return the epoch, the images of all ranks, and how many of them are not there for equal work."""
        epoch, place = divmod(number, len(self))
        images, turn = self._of(epoch)
        k = int(turn[place])
        ends = self.batches.cumsum(0)
        b = int(torch.searchsorted(ends, k, right=True))
        own = images[int(self.sizes[:b].sum()) :][: int(self.sizes[b])]
        start = (k - int(ends[b] - self.batches[b])) * self.batch_size
        real = min(self.batch_size, len(own) - start)
        full = self.batch_size if self.fill else -(-real // self.world) * self.world
        chosen = own[(start + torch.arange(full)) % len(own)]  # from its first one on, where it ends
        return epoch, chosen, full if self.fill else real

    def _of(self, epoch: int) -> tuple[Tensor, Tensor]:
        """Return the images of the epoch by bucket, and the turns of the batches."""
        if self._epoch is None or self._epoch[0] != epoch:
            order = permutation(self.seed, epoch, self.count)
            images = order[self.bucket[order].argsort(stable=True)]
            turns = keys(self.seed, "buckets", epoch, index=torch.arange(len(self))).argsort(stable=True)
            self._epoch = epoch, images, turns
        return self._epoch[1:]


def in_turn_of_buckets(bucket: Tensor, batch_size: int, rank: int = 0, world: int = 1) -> list[Tensor]:
    """Return all images in batches of one bucket, unshuffled; every rank has the same number of batches.

    What is left of a bucket after its batches, where that is less than an image for each rank, joins the last
    of them. All images of a bucket with fewer images than ranks are a batch of every rank.
    """
    batches = list[Tensor]()
    for b in range(int(bucket.max()) + 1 if len(bucket) else 0):
        parts = [part for part in (bucket == b).nonzero().flatten().split(batch_size) if len(part)]
        if len(parts) > 1 and len(parts[-1]) < world:
            parts[-2:] = [torch.cat(parts[-2:])]
        batches += [part if len(part) < world else part.tensor_split(world)[rank] for part in parts]
    return batches
