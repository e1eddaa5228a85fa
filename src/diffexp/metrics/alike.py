"""Find sets of images that are all the same: a metric of such a set says nothing of a model."""

import torch
from torch import Tensor

from diffexp.data.dataset import Images
from diffexp.metrics.distributed import summed


class Alike:
    """A watch for images that are all the same one."""

    def __init__(self) -> None:
        self._first: Tensor | None = None
        self._count, self.vary = 0, False

    def see(self, images: Tensor) -> None:
        """Take in images (B, C, H, W); after two that differ it looks at no more."""
        self._count += len(images)
        if not self.vary and len(images):
            self._first = images[0] if self._first is None else self._first
            self.vary = not torch.equal(images, self._first.expand_as(images))

    def over_ranks(self) -> bool:
        """Return whether there are two or more, and no rank has two that differ: a collective call."""
        count, vary = summed(torch.tensor([self._count, int(self.vary)]))[0].tolist()
        return count > 1 and not vary


def all_alike(images: Images) -> bool:
    """Return whether the images of a split are all the same; it reads no more than it needs."""
    alike = Alike()
    for index in torch.arange(len(images)).split(100):
        alike.see(images.batch(index).image)
        if alike.vary:
            return False
    return len(images) > 1
