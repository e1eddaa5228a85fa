"""A split that lies in memory: one uint8 tensor, indexed a batch at a time."""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from diffexp.data.batch import Batch, texts_of
from diffexp.data.captions import Texts, texts_or_none


class InMemory:
    """A split. images: uint8 (N, C, H, W); labels: int64 (N,) or None; texts: a caption for each, their
    `Texts`, or None; sizes: int64 (N, 6) as in `Fitted`, or None.
    """

    streams = False

    def __init__(
        self,
        images: Tensor,
        labels: Tensor | None = None,
        texts: Sequence[str] | Texts | None = None,
        sizes: Tensor | None = None,
    ) -> None:
        self.images = images.contiguous()
        self.captions, self.sizes = texts_or_none(texts), sizes
        self.labels = None if labels is None else labels.to(torch.int64)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def texts(self) -> Sequence[str] | None:
        """The first caption of each image, or None."""
        return None if self.captions is None else self.captions.first

    def batch(self, index: Tensor) -> Batch:
        """Return the images of these numbers, int64 (B,), in this order."""
        label = None if self.labels is None else self.labels[index]
        size = None if self.sizes is None else self.sizes[index]
        return Batch(self.images[index], label, texts_of(self.texts, index), index, None, size)

    def select(self, index: Tensor) -> "InMemory":
        labels = None if self.labels is None else self.labels[index]
        captions = None if self.captions is None else self.captions.select(index)
        sizes = None if self.sizes is None else self.sizes[index]
        return InMemory(self.images[index], labels, captions, sizes)

    def fingerprint(self) -> str:
        """Return the sha256 of shape, pixels, labels and captions."""
        digest = hashlib.sha256(repr(tuple(self.images.shape)).encode())
        digest.update(self.images.numpy().reshape(-1).data)
        if self.labels is not None:
            digest.update(self.labels.numpy().data)
        if self.captions is not None:
            self.captions.update(digest)
        return digest.hexdigest()
