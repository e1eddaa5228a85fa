"""Batches for the trainer. A set in memory is indexed here; a streaming one may be decoded by workers.

Training is one endless sequence of batches, see order.py. The loader asks how many of them the trainer has
processed and begins there; Lightning keeps that number in its checkpoints. Ours is how the order is made, for
a run that began before large sets had another (order.py).
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from diffexp.data.batch import Batch
from diffexp.data.bucket_order import BucketOrder
from diffexp.data.fitted import drawn_places, mirrored_size
from diffexp.data.memory import InMemory
from diffexp.data.mixed import Mixed, is_random
from diffexp.data.order import TrainOrder, flips, kind_of
from diffexp.data.stream import Stream
from diffexp.errors import DataError, ResourceError

if TYPE_CHECKING:
    from diffexp.data.latents import Latents


Asked = Tensor | tuple[Tensor, Tensor]
"""The numbers of the images of a batch, with the places of their crops where these are drawn."""


class _Decode(Dataset):
    def __init__(self, images: Stream | Mixed) -> None:
        self.images = images

    def __getitem__(self, asked: Asked) -> Batch | DataError:
        try:
            return _batch(self.images, asked)
        except DataError as error:  # raised in a worker it would arrive as a traceback in a string
            return error


def _batch(images: "InMemory | Stream | Mixed | Latents", asked: Asked) -> Batch:
    if isinstance(asked, Tensor):
        return images.batch(asked)
    assert isinstance(images, Stream | Mixed)  # others draw no crops
    return images.batch(*asked)


def fetch(
    images: "InMemory | Stream | Mixed | Latents", order: Iterable[Asked], workers: int
) -> Iterator[Batch]:
    """Yield each batch of `order`. Raises DataError; ResourceError when a worker was killed."""
    if workers == 0 or not images.streams:
        yield from (_batch(images, asked) for asked in order)
        return
    assert isinstance(images, Stream | Mixed)
    pin = torch.cuda.is_available()
    # batch_size=None: what the sampler yields is handed to a worker as it is, a whole batch
    loader = DataLoader(_Decode(images), None, sampler=order, num_workers=workers, pin_memory=pin)
    try:
        for batch in loader:
            if isinstance(batch, DataError):
                raise batch
            yield batch
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        do = "type fewer loader.workers (0 decodes in this process), or give more memory or /dev/shm"
        raise ResourceError(f"a data worker was killed: {error}", "loader.workers", do) from error


class TrainLoader:
    """An epoch of training batches from where the trainer is; `processed()` is how many it has had in all."""

    def __init__(
        self,
        images: "InMemory | Stream | Mixed | Latents",
        order: TrainOrder | BucketOrder,
        flip: bool,
        workers: int,
        processed: Callable[[], int],
    ) -> None:
        self.images, self.order, self.flip = images, order, flip
        self.workers, self.processed = workers, processed

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[Batch]:
        start = self.processed()
        numbers = range(start, start + len(self))
        batches = fetch(self.images, map(self._asked, numbers), self.workers)
        for number, batch in zip(numbers, batches, strict=True):
            epoch = number // len(self)
            shown = self._flipped(batch, epoch) if self.flip else batch
            if isinstance(self.order, BucketOrder):
                weight, real = self.order.weight(number), self.order.real(number)
                shown = shown._replace(weight=weight, real=real)
            yield self._captioned(shown, epoch)

    def _asked(self, number: int) -> Asked:
        epoch, index = self.order.batch(number)
        if not is_random(self.images):
            return index
        return index, drawn_places(self.order.seed, epoch, index)

    def _flipped(self, batch: Batch, epoch: int) -> Batch:
        mirrored = flips(self.order.seed, epoch, batch.index)
        if not isinstance(self.images, InMemory | Stream | Mixed):
            return self.images.flipped(batch, mirrored)
        image = torch.where(mirrored[:, None, None, None], batch.image.flip(-1), batch.image)
        size = batch.size
        if size is not None:
            size = torch.where(mirrored[:, None], mirrored_size(size), size)
        return batch._replace(image=image, size=size)

    def _captioned(self, batch: Batch, epoch: int) -> Batch:
        captions = self.images.captions
        if captions is None or not captions.varies:
            return batch
        return batch._replace(text=captions.drawn(self.order.seed, epoch, batch.index))

    def state_dict(self) -> dict[str, Any]:
        """Tell Lightning that this loader can go on in mid-epoch; the position is in its own state."""
        order = self.order
        kind = {"order": order.kind or kind_of(order.count)} if isinstance(order, TrainOrder) else {}
        return {"processed": self.processed(), **kind}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on in the order of the run: one that does not say which has the sorted one."""
        if isinstance(self.order, TrainOrder):
            kind = "computed" if state.get("order") == "computed" else "sorted"
            self.order = replace(self.order, kind=kind)


class EvalLoader:
    """A split in order, unshuffled and unflipped."""

    def __init__(
        self, images: "InMemory | Stream | Mixed | Latents", order: list[Tensor], workers: int
    ) -> None:
        self.images, self.order, self.workers = images, order, workers

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[Batch]:
        return fetch(self.images, self.order, self.workers)
