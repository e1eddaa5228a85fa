"""What training and the metrics receive: a batch of images, with what is known about them."""

from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """image: uint8 (B, C, H, W), turned into numbers around 0 by the codec, on the device.

    label: int64 (B,), the class, or None where the data set has no classes.
    text: one caption for each image, or None.
    index: int64 (B,), the number of each image in its split.
    """

    image: Tensor
    label: Tensor | None
    text: list[str] | None
    index: Tensor  # pyright: ignore[reportIncompatibleMethodOverride]  (hides tuple.index)


def texts_of(texts: list[str] | None, index: Tensor) -> list[str] | None:
    """The captions of these numbers, if there are any."""
    return None if texts is None else [texts[i] for i in index.tolist()]
